package redis

import (
	"errors"
	"fmt"
	"reflect"
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
		"unknown":          {Config{URL: "redis://localhost?" + canary + "=" + canary}, "parameters"},
		"broken query":     {Config{URL: "redis://localhost?%zz" + canary}, "parameters"},
		"cluster=false":    {Config{URL: "redis://localhost?cluster=false"}, "parameters"},
		"cluster twice":    {Config{URL: "redis://localhost?cluster=true&cluster=true"}, "parameters"},
		"empty master":     {Config{URL: "redis://localhost?master_set="}, "parameters"},
		"both":             {Config{URL: "redis://localhost?cluster=true&master_set=m"}, "both"},
		"empty addr":       {Config{URL: "redis://localhost?addr="}, "no host"},
		"addr with path":   {Config{URL: "redis://localhost?addr=" + canary + "/0"}, "no host"},
		"port of addr":     {Config{URL: "redis://localhost?addr=h:" + canary}, "port"},
		"bare IPv6":        {Config{URL: "redis://localhost?addr=fe80::1"}, "brackets"},
		"cluster database": {Config{URL: "redis://localhost/3?cluster=true"}, "database"},
		"fragment":         {Config{URL: "redis://localhost#" + canary}, "'#'"},
		"socket with host": {Config{URL: "unix://" + canary + "/socket"}, "unix:///path"},
		"socket without":   {Config{URL: "unix://"}, "unix:///path"},
		"socket query":     {Config{URL: "unix:///s?db=1"}, "parameters"},
		"off-host":         {Config{URL: "redis://:" + canary + "@cache.example"}, "Plaintext"},
		"off-host node":    {Config{URL: "redis://127.0.0.1?addr=10.0.0.1:6379"}, "Plaintext"},
		"off-host address": {Config{URL: "redis://[fe80::1]"}, "rediss://"},
		"like localhost":   {Config{URL: "redis://localhost.example"}, "Plaintext"},
		"sentinel secret":  {Config{URL: good, SentinelPassword: canary}, "master_set"},
		"sentinel user":    {Config{URL: good + "?master_set=m", SentinelUser: canary}, "SentinelPassword"},
		"fast poll":        {Config{URL: good, Poll: time.Millisecond}, "Poll"},
		"slow poll":        {Config{URL: good, Poll: 2 * time.Second}, "Poll"},
		"negative poll":    {Config{URL: good, Poll: -1}, "Poll"},
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
	set, err := Config{URL: "rediss://al%40ice:p%2Fw@cache.example:6400/3"}.check()
	if err != nil {
		t.Fatal(err)
	}
	if set.addrs[0] != "cache.example:6400" || set.opt.Username != "al@ice" || set.opt.Password != "p/w" || set.opt.SelectDB != 3 {
		t.Errorf("address %v, user %q, database %d, or the password", set.addrs, set.opt.Username, set.opt.SelectDB)
	}
	// Without a name of its own, the one of the address is verified.
	if set.opt.TLSConfig == nil || set.opt.TLSConfig.InsecureSkipVerify || set.opt.TLSConfig.ServerName != "" {
		t.Errorf("rediss:// does not check the server")
	}
	set, err = Config{URL: "redis://[::1]/"}.check()
	if err != nil || set.addrs[0] != "[::1]:6379" || set.opt.TLSConfig != nil {
		t.Fatalf("got %v", err)
	}
	if set.KeyPrefix != "fastopt" || set.Heartbeat != 250*time.Millisecond || set.cluster || set.master != "" {
		t.Errorf("defaults are %q and %v, or not one server", set.KeyPrefix, set.Heartbeat)
	}
}

func TestPlacesOfAURL(t *testing.T) {
	for url, want := range map[string]place{
		"redis://localhost":                                    {"tcp", []string{"localhost:6379"}, false, ""},
		"redis://127.0.0.1:7000?cluster=true":                  {"tcp", []string{"127.0.0.1:7000"}, true, ""},
		"rediss://a:7000/0?addr=b&addr=[::2]:7002":             {"tcp", []string{"a:7000", "b:6379", "[::2]:7002"}, true, ""},
		"rediss://a/2?master_set=orders&addr=b:1":              {"tcp", []string{"a:26379", "b:1"}, false, "orders"},
		"unix://:secret@/run/redis.sock":                       {"unix", []string{"/run/redis.sock"}, false, ""},
		"rediss://user:secret@cache.example:6379?cluster=true": {"tcp", []string{"cache.example:6379"}, true, ""},
	} {
		set, err := Config{URL: url}.check()
		if err != nil || !reflect.DeepEqual(set.place, want) {
			t.Errorf("%s: got %+v, %v", url, set, err)
		}
	}
}

func TestPlaintextOffHostIsASaidWish(t *testing.T) {
	for _, url := range []string{"redis://cache.example", "redis://10.1.2.3?cluster=true", "redis://localhost?addr=b"} {
		if _, err := (Config{URL: url}).check(); !errors.Is(err, errPlaintext) {
			t.Errorf("%s: got %v", url, err)
		}
		if _, err := (Config{URL: url, Plaintext: true}).check(); err != nil {
			t.Errorf("%s: got %v", url, err)
		}
	}
	for _, url := range []string{"redis://LOCALHOST", "redis://127.8.9.1", "redis://[::1]"} {
		if _, err := (Config{URL: url}).check(); err != nil {
			t.Errorf("%s: got %v", url, err)
		}
	}
	// What a cluster or a Sentinel names is not in the URL.
	set, err := Config{URL: "redis://127.0.0.1?cluster=true"}.check()
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = connect(t.Context(), set, "cache.example:6379", set.opt)
	if !errors.Is(explain(err), tiers.ErrSetup) || !strings.Contains(explain(err).Error(), "Plaintext") {
		t.Errorf("a node of another machine gave %v", err)
	}
}

// A silent server is noticed within a second, whatever the settings.
func TestSlowestHeartbeatIsWithinTheSecond(t *testing.T) {
	if 500*time.Millisecond+silence > time.Second {
		t.Errorf("a heartbeat every 500ms and %v of silence are more than a second", silence)
	}
	if maxCalls >= 1<<ringScale {
		t.Errorf("%d calls fill a ring of %d", maxCalls, 1<<ringScale)
	}
}
