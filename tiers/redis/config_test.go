package redis

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fastopt/fastopt-go/tiers"
)

const canary = "c4nary-passw0rd"

func TestOpenRefusesABadConfigAndKeepsThePasswordToItself(t *testing.T) {
	good := "redis://localhost:6379"
	cases := map[string]struct {
		conf Config
		says string
	}{
		"no URL":           {Config{}, "URL is empty"},
		"no scheme":        {Config{URL: "localhost:6379"}, "redis://"},
		"other scheme":     {Config{URL: "http://u:" + canary + "@localhost"}, "redis://"},
		"unparsable":       {Config{URL: "redis://u:" + canary + "%zz@localhost"}, "cannot be parsed"},
		"control":          {Config{URL: "redis://u:" + canary + "\x7f@localhost"}, "cannot be parsed"},
		"unescaped slash":  {Config{URL: "redis://u:" + canary + "/x@localhost"}, "URL"},
		"no host":          {Config{URL: "redis://u:" + canary + "@/0"}, "no host"},
		"port of letters":  {Config{URL: "redis://u:" + canary + "@localhost:abc"}, "URL"},
		"port 0":           {Config{URL: "redis://u:" + canary + "@localhost:0"}, "port"},
		"port too large":   {Config{URL: "redis://u:" + canary + "@localhost:70000"}, "port"},
		"database":         {Config{URL: "redis://localhost/" + canary}, "database"},
		"negative":         {Config{URL: "redis://localhost/-1"}, "database"},
		"two parts":        {Config{URL: "redis://localhost/1/2"}, "database"},
		"skips checks":     {Config{URL: "rediss://localhost?skip_verify=true"}, "parameters"},
		"fragment":         {Config{URL: "redis://localhost#" + canary}, "parameters"},
		"user alone":       {Config{URL: "redis://" + canary + "@localhost"}, "without a password"},
		"prefix":           {Config{URL: good, KeyPrefix: "a:b"}, "KeyPrefix"},
		"prefix of leases": {Config{URL: good, KeyPrefix: "lease"}, "KeyPrefix"},
		"fast heartbeat":   {Config{URL: good, Heartbeat: time.Millisecond}, "Heartbeat"},
		"slow heartbeat":   {Config{URL: good, Heartbeat: time.Second}, "Heartbeat"},
		"negative beat":    {Config{URL: good, Heartbeat: -1}, "Heartbeat"},
		"short key":        {Config{URL: good, MACKey: []byte(canary)}, "MACKey of 15 bytes"},
		"empty key":        {Config{URL: good, MACKey: []byte{}}, "MACKey"},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			cache, err := Open(c.conf)
			if err == nil {
				cache.Close()
				t.Fatal("opened")
			}
			if !errors.Is(err, tiers.ErrSetup) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an ErrSetup that says %q", err, c.says)
			}
			if strings.Contains(fmt.Sprintf("%+v", err), canary) {
				t.Errorf("the error tells the password")
			}
		})
	}
}

func TestOptionsOfAURL(t *testing.T) {
	_, opt, err := Config{URL: "rediss://al%40ice:p%2Fw@cache.example:6400/3"}.options()
	if err != nil {
		t.Fatal(err)
	}
	if opt.InitAddress[0] != "cache.example:6400" || opt.Username != "al@ice" || opt.Password != "p/w" || opt.SelectDB != 3 {
		t.Errorf("address %v, user %q, database %d, or the password", opt.InitAddress, opt.Username, opt.SelectDB)
	}
	if opt.TLSConfig == nil || opt.TLSConfig.InsecureSkipVerify || opt.TLSConfig.ServerName != "cache.example" {
		t.Errorf("rediss:// does not check the server")
	}
	conf, opt, err := Config{URL: "redis://[::1]/"}.options()
	if err != nil || opt.InitAddress[0] != "[::1]:6379" || opt.TLSConfig != nil {
		t.Errorf("got %v, %v", opt.InitAddress, err)
	}
	if conf.KeyPrefix != "fastopt" || conf.Heartbeat != 250*time.Millisecond {
		t.Errorf("defaults are %q and %v", conf.KeyPrefix, conf.Heartbeat)
	}
}

// A silent server is noticed within a second, whatever the settings.
func TestSlowestHeartbeatIsWithinTheSecond(t *testing.T) {
	if 500*time.Millisecond+silence > time.Second || oldest > time.Second {
		t.Errorf("a heartbeat every 500ms and %v of silence are more than a second", silence)
	}
	if maxCalls >= 1<<ringScale {
		t.Errorf("%d calls fill a ring of %d", maxCalls, 1<<ringScale)
	}
}
