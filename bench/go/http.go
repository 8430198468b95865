// SPDX-License-Identifier: MIT

// An HTTP server of Go's net/http that answers everything with the same text, for bench/http_peers.sh. Prints its
// port.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		answer.Header().Set("Content-Type", "text/plain")
		answer.Write(text)
	})))
}
