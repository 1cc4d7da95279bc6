package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

// plainWidth and plainHeight are what output has that is no terminal.
const (
	plainWidth  = 100
	plainHeight = 24
)

// size is the room for a picture: all of the terminal but its last line.
func (a *App) size() show.Size {
	s := show.Size{Width: plainWidth, Height: plainHeight, Zone: time.Local}
	if f, ok := show.Terminal(a.Out); ok {
		s.Width, s.Height = show.TerminalWidth(f), show.TerminalHeight(f)-1
		s.Colour = a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb" // no-color.org
	}
	return s
}

// terminal reports whether somebody looks at the output as it comes.
func (a *App) terminal() bool {
	_, ok := show.Terminal(a.Out)
	return ok
}

// watch draws again and again in one place, or line after line where there is
// no terminal, until ctx ends: that is how it ends, and no error. A meshd that
// goes away for a while is waited for, and what it said last stays.
func (a *App) watch(ctx context.Context, interval time.Duration, lines func() ([]string, error)) error {
	draw := func(l []string) error { return printLines(a.Out, l) }
	away := func(_ []string, why error) error {
		_, err := fmt.Fprintln(a.Err, why)
		return err
	}
	if f, ok := show.Terminal(a.Out); ok {
		screen := show.NewScreen(f, func() int { return show.TerminalWidth(f) })
		draw = func(l []string) error {
			screen.Draw(l)
			return nil
		}
		away = func(last []string, why error) error {
			return draw(append(slices.Clone(last), "", why.Error()))
		}
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var last []string
	gone := false
	for {
		l, err := lines()
		if ctx.Err() != nil {
			return nil
		}
		switch unreachable := (*api.Unreachable)(nil); {
		case err == nil:
			last, gone = l, false
			err = draw(l)
		case last != nil && errors.As(err, &unreachable):
			why := err
			if err = nil; !gone {
				err = away(last, why)
			}
			gone = true
		}
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// serviceName reads NAME or NAMESPACE/NAME; a port is left out, since what is
// watched is the whole service.
func serviceName(arg string) (api.ServiceName, error) {
	namespace, name, _ := splitService(arg)
	if namespace == "" {
		namespace = "default"
	}
	if name == "" || strings.Contains(name, "/") {
		return api.ServiceName{}, usagef("service %q: want NAME or NAMESPACE/NAME", arg)
	}
	return api.ServiceName{Namespace: namespace, Name: name}, nil
}
