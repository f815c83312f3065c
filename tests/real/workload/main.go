// demo-shop is the workload that drills on real nodes run against: a web server
// that takes a stated time for each request, and the shoppers who visit it.
//
//	demo-shop                 serve
//	demo-shop load URL RPS    send a constant load to URL
//	demo-shop relay ADDRESS   pass connections on to ADDRESS
//	demo-shop pause           hold a pod's namespaces
//
// Every request is counted once under http_requests_total{app,code}: by the pod
// that answered it, or by the shoppers as code="503" when nobody answered.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	args := os.Args[1:]
	var err error
	switch {
	case len(args) == 0:
		err = serve(ctx)
	case args[0] == "load" && len(args) == 3:
		err = runLoad(ctx, args[1], args[2])
	case args[0] == "relay" && len(args) == 2:
		err = relay(ctx, args[1])
	case args[0] == "pause" && len(args) == 1:
		pause(ctx)
	default:
		err = errors.New("usage: demo-shop [load URL RPS | relay ADDRESS | pause]")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// pause waits, and reaps what is left to the first process of a pod.
func pause(ctx context.Context) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-ctx.Done():
			return
		case <-children:
			for pid := 1; pid > 0; {
				pid, _ = syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			}
		}
	}
}

// listen serves until ctx ends, then calls drain and lets requests in flight finish.
func listen(ctx context.Context, handler http.Handler, drain func()) error {
	server := &http.Server{Addr: ":" + text("PORT", "8080"), Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain()
	finish, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(finish)
}

func text(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func duration(name string, otherwise time.Duration) (time.Duration, error) {
	value := os.Getenv(name)
	if value == "" {
		return otherwise, nil
	}
	parsed, err := time.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return parsed, nil
}

func number(name string, otherwise int) (int, error) {
	value := strings.TrimSpace(os.Getenv(name))
	if value == "" {
		return otherwise, nil
	}
	parsed, err := strconv.Atoi(value)
	if err != nil || parsed < 1 {
		return 0, fmt.Errorf("%s: not a positive number: %q", name, value)
	}
	return parsed, nil
}
