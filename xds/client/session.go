package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const maxResponse = 64 << 20 // bytes of one message

// Back-off between connections (gRPC's) and between streams on one that holds
// (ours).
const (
	firstRetry = 50 * time.Millisecond // up to twice that, at random
	lastRetry  = 5 * time.Second
)

// dial prepares the connection, which is made when the first stream begins.
// It takes no proxy from the environment: the sidecar is that proxy.
func dial(cfg Config) (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: false}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 75 * time.Millisecond, Multiplier: 1.6, Jitter: 0.3, MaxDelay: lastRetry * 10 / 13},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithReadBufferSize(8 << 10), grpc.WithWriteBufferSize(8 << 10),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxResponse), grpc.WaitForReady(true)),
	}
	if cfg.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return cfg.Dial(ctx, addr) }))
	}
	cc, err := grpc.NewClient("dns:///"+cfg.Addr, opts...)
	if err != nil {
		return nil, fmt.Errorf("xds client: %w", err)
	}
	return cc, nil
}

// A session is one stream: a goroutine that opens it and receives, and one that
// sends. Both end with the stream, before down is told.
type session struct {
	cancel context.CancelFunc
	up     chan struct{} // closed when the stream is open
	in     chan []byte   // messages received
	out    chan []byte   // messages to send
	down   chan error    // receives why the stream ended, once
}

func open(ctx context.Context, cc *grpc.ClientConn, method string) *session {
	ctx, cancel := context.WithCancel(ctx)
	s := &session{
		cancel: cancel, up: make(chan struct{}),
		in: make(chan []byte), out: make(chan []byte), down: make(chan error, 1),
	}
	go func() { s.down <- s.run(ctx, cc, method) }()
	return s
}

func (s *session) run(ctx context.Context, cc *grpc.ClientConn, method string) error {
	defer s.cancel()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	close(s.up)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for {
			select {
			case <-ctx.Done():
				return
			case b := <-s.out:
				if stream.SendMsg(b) != nil {
					return // RecvMsg has the reason
				}
			}
		}
	}()
	defer func() { s.cancel(); <-sent }()
	for {
		var b []byte
		if err := stream.RecvMsg(&b); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s.in <- b:
		}
	}
}

// close ends the stream and waits for its goroutines.
func (s *session) close() {
	s.cancel()
	<-s.down
}

// retryDelay of the nth stream in a row that ended without a response.
func retryDelay(n int) time.Duration {
	d := min(firstRetry<<min(n, 10), lastRetry)
	return d/2 + rand.N(d/2) + min(d/2, firstRetry/2)
}
