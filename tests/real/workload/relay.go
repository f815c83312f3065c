package main

import (
	"context"
	"io"
	"log"
	"net"
	"time"
)

// relay passes connections on to an address outside of the cluster: the API
// server's proxy goes to nothing but pods.
func relay(ctx context.Context, to string) error {
	listener, err := net.Listen("tcp", ":"+text("PORT", "8080"))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	for {
		from, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go pass(from.(*net.TCPConn), to)
	}
}

func pass(from *net.TCPConn, address string) {
	defer from.Close()
	connection, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		log.Print(err)
		return
	}
	defer connection.Close()
	to := connection.(*net.TCPConn)
	go func() {
		io.Copy(to, from)
		to.CloseWrite()
	}()
	io.Copy(from, to)
}
