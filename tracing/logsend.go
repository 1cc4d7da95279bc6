package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // OTEL_EXPORTER_OTLP_COMPRESSION
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// OpenTelemetry's own exporters of logs take the SDK's objects only; this is
// what they do (OTLP specification, "OTLP/gRPC" and "OTLP/HTTP") with bytes.

// newLogSender makes what sends records to an OTLP backend, and tries again
// where the backend allows it. free closes the connections.
func newLogSender(o otlp) (send func(context.Context, *logspb.ResourceLogs) error, free func(), err error) {
	var once func(context.Context, *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error)
	if o.protocol == protocolGRPC {
		conn, err := o.dial()
		if err != nil {
			return nil, nil, err
		}
		client, fields := collogspb.NewLogsServiceClient(conn), metadata.New(o.headers)
		once = func(ctx context.Context, r *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
			answer, err := client.Export(metadata.NewOutgoingContext(ctx, fields), r)
			return answer, grpcError(err)
		}
		free = func() { conn.Close() }
	} else {
		client, close := o.httpClient()
		once = func(ctx context.Context, r *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
			return o.postLogs(ctx, client, r)
		}
		free = close
	}
	return func(ctx context.Context, logs *logspb.ResourceLogs) error {
		ctx, cancel := context.WithTimeout(ctx, o.timeout)
		defer cancel()
		request := &collogspb.ExportLogsServiceRequest{ResourceLogs: []*logspb.ResourceLogs{logs}}
		return again(ctx, func() error {
			answer, err := once(ctx, request)
			if n := answer.GetPartialSuccess().GetRejectedLogRecords(); err == nil && n > 0 {
				return fmt.Errorf("the backend has refused %d records: %s", n, answer.GetPartialSuccess().GetErrorMessage())
			}
			return err
		})
	}, free, nil
}

// A laterError may be no error later: after so long at least; below zero, the
// backend has not said after what time.
type laterError struct {
	error
	after time.Duration
}

func (e laterError) Unwrap() error { return e.error }

// The time before the second attempt, and the longest before others.
const (
	firstPause = 500 * time.Millisecond
	mostPause  = 5 * time.Second
)

// again calls f until it has no laterError any more, or ctx would end first.
func again(ctx context.Context, f func() error) error {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		err := f()
		var later laterError
		if !errors.As(err, &later) {
			return err
		}
		wait := later.after
		if wait < 0 {
			wait = pause/2 + rand.N(pause)
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
			return later.error
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return later.error
		}
	}
}

func grpcError(err error) error {
	s := status.Convert(err)
	after := time.Duration(-1)
	for _, d := range s.Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			after = max(r.GetRetryDelay().AsDuration(), 0)
		}
	}
	switch s.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		return laterError{err, after}
	case codes.ResourceExhausted:
		if after >= 0 { // it may recover: it says when
			return laterError{err, after}
		}
	}
	return err
}

// maxAnswer is the most of a backend's answer that is read.
const maxAnswer = 64 << 10

func (o otlp) postLogs(ctx context.Context, client *http.Client, r *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
	body, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	if o.gzip {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, _ = w.Write(body) // a Buffer takes everything
		_ = w.Close()
		body = packed.Bytes()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range o.headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	if o.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, laterError{err, -1}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, laterError{err, -1}
	}
	switch res.StatusCode {
	case http.StatusOK:
		answer := &collogspb.ExportLogsServiceResponse{}
		if proto.Unmarshal(text, answer) != nil {
			return nil, nil // taken, whatever it says
		}
		return answer, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, laterError{fmt.Errorf("%s: %s", o.endpoint, res.Status), retryAfter(res.Header.Get("Retry-After"))}
	}
	return nil, fmt.Errorf("%s: %s", o.endpoint, res.Status)
}

// retryAfter reads the field (RFC 9110, section 10.2.3); below zero: it says nothing.
func retryAfter(value string) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return -1
}
