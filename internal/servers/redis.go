// Redis without persistence: what it forgets at a restart is the point.

package servers

import (
	"context"
	"fmt"
	"net/url"
)

// A RedisServer is a redis-server, empty at first and after each Restart.
type RedisServer struct {
	handle
	url, addr string
}

// StartRedis starts a redis-server of one's own, in about 15 ms, whatever
// FASTOPT_TEST_REDIS says. It waits until the server is ready, at the latest
// until ctx ends or 30 s have passed; ctx has no say afterwards. The error is
// ErrMissing if there is no redis-server, else it carries the end of its log.
func StartRedis(ctx context.Context, o Options) (*RedisServer, error) {
	if err := checkSettings(o.Settings); err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	srv, err := startRedis(ctx, o)
	if err != nil {
		return nil, err
	}
	return newRedisServer(srv), nil
}

func newRedisServer(srv *server) *RedisServer {
	addr := srv.addr()
	return &RedisServer{handle: handle{srv}, addr: addr, url: "redis://" + addr}
}

// externalRedis is the server that a URL names.
func externalRedis(rawURL string) (*RedisServer, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%s: want redis://host:port", RedisEnv) // never its text: it may hold a password
	}
	return &RedisServer{url: rawURL, addr: u.Host}, nil
}

// URL returns redis://127.0.0.1:port, the same after a Restart.
func (r *RedisServer) URL() string { return r.url }

// Addr returns 127.0.0.1:port, the same after a Restart.
func (r *RedisServer) Addr() string { return r.addr }
