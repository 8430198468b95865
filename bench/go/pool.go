// SPDX-License-Identifier: MIT

// The server that bench/goodput.sh compares with examples/httpd --pool: net/http, with the context of the request,
// which ends when the client leaves, and with the deadline that it asks for. At most so many requests as the pool has
// places are at the upstream at a time.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

var (
	portFile = flag.String("port-file", "", "where to write the port")
	upstream = flag.String("upstream", "", "HOST:PORT of examples/upstream")
	pool     = flag.Int("pool", 4, "requests at the upstream at a time")
	noCancel = flag.Bool("no-cancel", false, "go on with requests whose client has left")
	port     = flag.Int("port", 0, "port, 0: a free one")
	places   chan struct{}
)

// ask asks the upstream. The connection is closed when ctx ends, and so the read ends.
func ask(ctx context.Context, ms string) (string, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", *upstream)
	if err != nil {
		return "", err
	}
	answered := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-answered:
		}
		connection.Close()
	}()
	defer close(answered)
	if _, err = fmt.Fprintf(connection, "%s\n", ms); err != nil {
		return "", err
	}
	return bufio.NewReader(connection).ReadString('\n')
}

func fan(writer http.ResponseWriter, request *http.Request) {
	ctx := request.Context()
	if *noCancel {
		ctx = context.Background()
	}
	if ms, err := strconv.Atoi(request.Header.Get("X-Deadline-Ms")); err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		defer cancel()
	}
	// As in the other server, at most half of the time that there is passes in the queue.
	queue := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		queue, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	select {
	case places <- struct{}{}:
	case <-queue.Done():
		http.Error(writer, "ended in the queue", http.StatusGatewayTimeout)
		return
	}
	answer, err := ask(ctx, request.URL.Query().Get("ms"))
	<-places
	if err != nil {
		http.Error(writer, err.Error(), http.StatusGatewayTimeout)
		return
	}
	fmt.Fprint(writer, answer)
}

func main() {
	flag.Parse()
	places = make(chan struct{}, *pool)
	http.HandleFunc("/fan", fan)
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	text := fmt.Sprintf("%d\n", listener.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(*portFile+".new", []byte(text), 0o644); err != nil {
		log.Fatal(err)
	}
	if err := os.Rename(*portFile+".new", *portFile); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, nil))
}
