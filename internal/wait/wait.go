// Package wait lets time pass.
package wait

import (
	"context"
	"time"
)

// For returns nil after d, at once where d is not positive, or ctx's error when
// ctx ends before that.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
