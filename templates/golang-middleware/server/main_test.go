package main

import (
	"net"
	"path/filepath"
	"testing"
)

func TestListensWhereItIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "up.sock")
	for _, told := range []struct{ url, network string }{
		{"unix:" + socket, "unix"},
		{"http://127.0.0.1:8082", "tcp"},
		{"", "tcp"},
	} {
		t.Setenv("upstream_url", told.url)
		t.Setenv("http_port", "0")
		listener, err := listen()
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if network := listener.Addr().Network(); network != told.network {
			t.Errorf("%q: listens on %s", told.url, network)
		}
	}
	connection, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	connection.Close()
}
