package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Probes speak to the servers by themselves, over a connection of their own, so
// that whether a fault was felt does not depend on the code under test.

const probeTimeout = 200 * time.Millisecond

// probe dials addr, sends a question and gives the connection to read.
func probe(addr, question string, read func(io.Reader) error) error {
	c, err := net.DialTimeout("tcp", addr, probeTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(probeTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, question); err != nil {
		return err
	}
	return read(c)
}

func pingRedis(addr string) error {
	_, err := askRedisText(addr, "PING")
	return err
}

// askRedis sends a command and returns the number it is answered with, if any.
func askRedis(addr, command string) (int, error) {
	text, err := askRedisText(addr, command)
	if err != nil || !strings.HasPrefix(text, ":") {
		return 0, err
	}
	return strconv.Atoi(text[1:])
}

func askRedisText(addr, command string) (text string, err error) {
	err = probe(addr, command+"\r\n", func(r io.Reader) error {
		text, err = bufio.NewReader(r).ReadString('\n')
		text = strings.TrimSpace(text)
		if err == nil && strings.HasPrefix(text, "-") {
			err = fmt.Errorf("redis answers %s to %s", text, command)
		}
		return err
	})
	return text, err
}

// pingPostgres asks whether the server would speak TLS: the one question that
// it answers, with a byte, before it knows who asks.
func pingPostgres(addr string) error {
	return probe(addr, "\x00\x00\x00\x08\x04\xd2\x16\x2f", func(r io.Reader) error {
		var b [1]byte
		_, err := io.ReadFull(r, b[:])
		return err
	})
}

// untilAnswer asks until there is an answer, or ctx ends.
func untilAnswer(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, 5*time.Millisecond)
	}
}
