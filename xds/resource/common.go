package resource

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// Tables of the messages that several resources share.
var (
	wrapperFields = message{"google.protobuf.UInt32Value", map[protowire.Number]field{
		1: {"value", num, ""},
	}}
	durationFields = message{"google.protobuf.Duration", map[protowire.Number]field{
		1: {"seconds", num, ""}, 2: {"nanos", num, ""},
	}}
	anyFields = message{"google.protobuf.Any", map[protowire.Number]field{
		1: {"type_url", text, ""}, 2: {"value", msg, ""},
	}}
	// A map<string, message> travels as repeated entries.
	entryFields = message{"map entry", map[protowire.Number]field{
		1: {"key", text, ""}, 2: {"value", msg, ""},
	}}
	configSourceFields = message{"envoy.config.core.v3.ConfigSource", map[protowire.Number]field{
		1: {"path", denyText, adsOrSelf}, 8: {"path_config_source", deny, adsOrSelf},
		2: {"api_config_source", deny, adsOrSelf},
		3: {"ads", msg, ""}, 5: {"self", msg, ""},
		4: {"initial_fetch_timeout", skip, ""}, // the client has its own for names that do not exist
		6: {"resource_api_version", num, ""}, 7: {"authorities", deny, "none"},
	}}
)

const adsOrSelf = "ads or self"

// open checks that a is of the type wanted and returns the name in field 1,
// which all four types have, and the bytes.
func open(a *anypb.Any, typeURL string) (name string, b []byte, err error) {
	if a.GetTypeUrl() != typeURL {
		return "", nil, fmt.Errorf("resource of type %q, want %q", a.GetTypeUrl(), typeURL)
	}
	return NameOf(a.GetValue()), a.GetValue(), nil
}

// NameOf returns the name of a serialised resource of any of the four types,
// even where the rest of it is not valid; "" where there is none.
func NameOf(b []byte) string {
	var name []byte
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeField(b)
		if size < 0 {
			break
		}
		if n == 1 && typ == protowire.BytesType {
			_, _, tagLen := protowire.ConsumeTag(b)
			name, _ = protowire.ConsumeBytes(b[tagLen:])
		}
		b = b[size:]
	}
	return string(name)
}

// wrapped reads google.protobuf.UInt32Value and BoolValue.
func wrapped(b []byte) (n uint64, err error) {
	err = wrapperFields.walk(b, func(_ protowire.Number, v value) error { n = v.n; return nil })
	return n, err
}

func wrapped32(b []byte) (uint32, error) {
	n, err := wrapped(b)
	if err != nil {
		return 0, err
	}
	return uint32Of(n)
}

// duration reads google.protobuf.Duration, which must not be negative here.
func duration(b []byte) (time.Duration, error) {
	var sec, nano int64
	err := durationFields.walk(b, func(n protowire.Number, v value) error {
		if n == 1 {
			sec = int64(v.n)
		} else {
			nano = int64(v.n)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	const maxSec = math.MaxInt64 / int64(time.Second)
	if sec < 0 || nano < 0 || sec >= maxSec || nano >= int64(time.Second) {
		return 0, fmt.Errorf("%d s %d ns is not a valid duration, want 0 s..%d s", sec, nano, maxSec-1)
	}
	return time.Duration(sec)*time.Second + time.Duration(nano), nil
}

func positive(b []byte) (time.Duration, error) {
	d, err := duration(b)
	if err == nil && d == 0 {
		return 0, errors.New("0s is not valid, want more than 0s")
	}
	return d, err
}

func anyOf(b []byte) (typeURL string, content []byte, err error) {
	err = anyFields.walk(b, func(n protowire.Number, v value) error {
		if n == 1 {
			typeURL = string(v.b)
		} else {
			content = v.b
		}
		return nil
	})
	return typeURL, content, err
}

func entry(b []byte) (key string, content []byte, err error) {
	err = entryFields.walk(b, func(n protowire.Number, v value) error {
		if n == 1 {
			key = string(v.b)
		} else {
			content = v.b
		}
		return nil
	})
	return key, content, err
}

// fromADS checks that a ConfigSource says ads or self, over xDS v3: the stream
// that brought it brings the rest as well.
func fromADS(b []byte) error {
	ok := false
	err := configSourceFields.walk(b, func(n protowire.Number, v value) error {
		switch n {
		case 3, 5:
			ok = true
		case 6:
			if v.n != 0 && v.n != 2 {
				return fmt.Errorf("%d is not supported, want V3", v.n)
			}
		}
		return nil
	})
	if err == nil && !ok {
		err = errors.New("missing, want " + adsOrSelf)
	}
	return err
}
