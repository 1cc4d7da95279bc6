package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// profiling fetches a CPU profile of the next d from the admin port of our
// sidecar into a file. The channel has its error, nil at once without a name.
func profiling(ctx context.Context, admin, name string, d time.Duration) <-chan error {
	done := make(chan error, 1)
	if name == "" {
		done <- nil
		return done
	}
	go func() {
		if err := profile(ctx, admin, name, max(int(d/time.Second), 1)); err != nil {
			done <- fmt.Errorf("profile: %w", err)
			return
		}
		done <- nil
	}()
	return done
}

func profile(ctx context.Context, admin, name string, seconds int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, seconds), nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
