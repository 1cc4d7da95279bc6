package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/xds/resource"
)

// The statuses of grpc.health.v1.HealthCheckResponse.
var serving = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

const isServing = 1

// newGRPC calls grpc.health.v1.Health/Check: two messages of one field each,
// which are made and read here.
// (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)
func newGRPC(cfg Config, cluster string, check *resource.HealthCheck, address string) probe {
	t := transport(cfg, true)
	host, message := hostOf(check.Host, cluster), request(check.Service)
	return probe{close: t.CloseIdleConnections, check: func(ctx context.Context) (err error) {
		defer func() {
			if err != nil {
				t.CloseIdleConnections()
			}
		}()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost,
			"http://"+address+"/grpc.health.v1.Health/Check", bytes.NewReader(message))
		if err != nil {
			return err
		}
		req.Host = host
		mark(req)
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		resp, err := t.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		if err != nil {
			return err
		}
		if shed(resp) {
			return nil
		}
		return answer(resp, body)
	}}
}

// answer judges a response whose body has been read.
func answer(resp *http.Response, body []byte) error {
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status") // trailers only
	}
	code, ok := grpc.ParseStatus(status)
	switch {
	case !ok:
		return errors.New("no grpc-status")
	case code != grpc.OK:
		return fmt.Errorf("gRPC status %s", grpc.Name(code))
	}
	is, err := parse(body)
	switch {
	case err != nil:
		return err
	case is == isServing:
		return nil
	case is < uint64(len(serving)):
		return fmt.Errorf("it says %s", serving[is])
	default:
		return fmt.Errorf("it says %d, which is no status", is)
	}
}

// request is a HealthCheckRequest, with its length before it.
func request(service string) []byte {
	var message []byte
	if service != "" {
		message = protowire.AppendTag(message, 1, protowire.BytesType)
		message = protowire.AppendString(message, service)
	}
	out := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(out, message...)
}

// parse reads the status of a HealthCheckResponse with its length before it.
func parse(body []byte) (status uint64, err error) {
	if len(body) < 5 {
		return 0, errors.New("no message")
	}
	if body[0] != 0 {
		return 0, errors.New("the message is compressed, which was not asked for")
	}
	n := binary.BigEndian.Uint32(body[1:])
	body = body[5:]
	if uint64(n) > uint64(len(body)) {
		return 0, fmt.Errorf("a message of %d bytes, of which %d came", n, len(body))
	}
	for body = body[:n]; len(body) > 0; {
		number, kind, k := protowire.ConsumeTag(body)
		if k < 0 {
			return 0, protowire.ParseError(k)
		}
		body = body[k:]
		if number == 1 && kind == protowire.VarintType {
			if status, k = protowire.ConsumeVarint(body); k < 0 {
				return 0, protowire.ParseError(k)
			}
		} else if k = protowire.ConsumeFieldValue(number, kind, body); k < 0 {
			return 0, protowire.ParseError(k)
		}
		body = body[k:]
	}
	return status, nil
}
