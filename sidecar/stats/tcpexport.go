package stats

import (
	"maps"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// The attributes of bytes, by OpenTelemetry's conventions for network.io.
const (
	transmit = "transmit"
	receive  = "receive"
)

// tcpSides are both sides' services that have had connections.
func tcpSides(snap Snapshot) (out []tcpSide) {
	for _, side := range []tcpSide{{"client", snap.Client}, {"server", snap.Server}} {
		side.services = slices.DeleteFunc(slices.Clone(side.services), func(s ServiceSnapshot) bool { return s.TCP == nil })
		if len(side.services) > 0 {
			out = append(out, side)
		}
	}
	return out
}

type tcpSide struct {
	name     string
	services []ServiceSnapshot
}

func (p *production) tcp(snap Snapshot) {
	var begun, active, io, refused []metricdata.DataPoint[int64]
	var lasted []metricdata.ExponentialHistogramDataPoint[float64]
	for _, side := range tcpSides(snap) {
		for _, s := range side.services {
			of := []attribute.KeyValue{attribute.String("meshd.service", s.Name), attribute.String("meshd.side", side.name)}
			begun = append(begun, p.point(int64(s.TCP.Connections), of...))
			active = append(active, p.point(s.TCP.Active, of...))
			for direction, n := range []uint64{s.TCP.Sent, s.TCP.Received} {
				word := []string{transmit, receive}[direction]
				io = append(io, p.point(int64(n), append(slices.Clip(of), attribute.String("network.io.direction", word))...))
			}
			for _, e := range s.TCP.Ended {
				h := p.histogram(s.Name, e, false)
				h.Attributes = attribute.NewSet(append(h.Attributes.ToSlice(), of...)...)
				lasted = append(lasted, h)
			}
		}
	}
	for _, why := range slices.Sorted(maps.Keys(snap.Refused)) {
		refused = append(refused, p.point(int64(snap.Refused[why]), attribute.String("error.type", why)))
	}
	p.sum("meshd.tcp.connections", "Connections whose bytes nobody looks at.", "{connection}", true, begun)
	p.sum("meshd.tcp.active_connections", "Such connections that are open.", "{connection}", false, active)
	p.sum("meshd.tcp.io", "Bytes relayed.", "By", true, io)
	if len(lasted) > 0 {
		p.metrics = append(p.metrics, metricdata.Metrics{
			Name: "meshd.tcp.connection.duration", Description: "How long connections lasted that have ended.", Unit: "s",
			Data: metricdata.ExponentialHistogram[float64]{DataPoints: lasted, Temporality: metricdata.CumulativeTemporality},
		})
	}
	p.sum("meshd.tcp.refused", "Connections closed without an attempt.", "{connection}", true, refused)
}

func (p promWriter) tcp(snap Snapshot) {
	sides := tcpSides(snap)
	each := func(f func(s ServiceSnapshot, labels []string)) {
		for _, side := range sides {
			for _, s := range side.services {
				f(s, []string{"meshd_service", s.Name, "meshd_side", side.name})
			}
		}
	}
	p.head("meshd_tcp_connections_total", "counter", "Connections whose bytes nobody looks at.")
	each(func(s ServiceSnapshot, labels []string) {
		p.sample("meshd_tcp_connections_total", float64(s.TCP.Connections), labels...)
	})
	p.head("meshd_tcp_active_connections", "gauge", "Such connections that are open.")
	each(func(s ServiceSnapshot, labels []string) {
		p.sample("meshd_tcp_active_connections", float64(s.TCP.Active), labels...)
	})
	p.head("meshd_tcp_io_bytes_total", "counter", "Bytes relayed.")
	each(func(s ServiceSnapshot, labels []string) {
		labels = append(labels, "network_io_direction")
		p.sample("meshd_tcp_io_bytes_total", float64(s.TCP.Sent), append(slices.Clip(labels), transmit)...)
		p.sample("meshd_tcp_io_bytes_total", float64(s.TCP.Received), append(slices.Clip(labels), receive)...)
	})
	p.head("meshd_tcp_connection_duration_seconds", "histogram", "How long connections lasted that have ended.")
	each(func(s ServiceSnapshot, labels []string) {
		for _, e := range s.TCP.Ended {
			of := slices.Clip(labels)
			if e.Error != "" {
				of = append(of, "error_type", e.Error)
			}
			p.histogram("meshd_tcp_connection_duration_seconds", e.Latency, of)
		}
	})
	p.head("meshd_tcp_refused_total", "counter", "Connections closed without an attempt.")
	for _, why := range slices.Sorted(maps.Keys(snap.Refused)) {
		p.sample("meshd_tcp_refused_total", float64(snap.Refused[why]), "error_type", why)
	}
}
