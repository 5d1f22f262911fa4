// The HTTP server around the handler. The watchdog starts it, waits until it listens, and is its only client.
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	function "handler/function"
)

func main() {
	log.SetFlags(0)
	listener, err := listen()
	if err != nil {
		log.Fatal(err)
	}
	// No timeouts: the deadlines, and which connections stay open, are the watchdog's business.
	server := &http.Server{Handler: recovering(http.HandlerFunc(function.Handle))}
	if err := serve(server, listener); err != nil {
		log.Fatal(err)
	}
}

// listen opens the socket that upstream_url names, else a port.
func listen() (net.Listener, error) {
	const unix = "unix:"
	if url := os.Getenv("upstream_url"); strings.HasPrefix(url, unix) {
		return net.Listen("unix", strings.TrimPrefix(url, unix))
	}
	port := os.Getenv("http_port")
	if port == "" {
		port = "8082"
	}
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
}

// serve returns when the calls that were in flight at SIGTERM have their answers.
func serve(server *http.Server, listener net.Listener) error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-stop.Done():
		return server.Shutdown(context.Background())
	}
}
