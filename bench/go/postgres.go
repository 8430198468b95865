// SPDX-License-Identifier: MIT

// The server that bench/goodput.sh compares with examples/libraries/postgres_pool: net/http, database/sql with a pool of
// four connections, and lib/pq, each query under the context of its request.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	_ "github.com/lib/pq"
)

var (
	portFile = flag.String("port-file", "", "where to write the port")
	pool     = flag.Int("pool", 4, "connections")
	deadline = flag.Duration("deadline", 500*time.Millisecond, "of a request")
)

// query waits for a connection for half of the time, as the other server does.
func query(ctx context.Context, db *sql.DB, text string) (string, error) {
	var value sql.NullString
	queue, cancel := context.WithTimeout(ctx, *deadline/2)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, *deadline)
	defer cancel()
	connection, err := db.Conn(queue)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	err = connection.QueryRowContext(ctx, text).Scan(&value)
	return value.String, err
}

func main() {
	flag.Parse()
	db, err := sql.Open("postgres", flag.Arg(0)+" sslmode=disable")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(*pool)
	db.SetMaxIdleConns(*pool)
	http.HandleFunc("/query", func(writer http.ResponseWriter, request *http.Request) {
		value, err := query(request.Context(), db, request.URL.Query().Get("sql"))
		if err != nil {
			http.Error(writer, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(writer, value)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
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
