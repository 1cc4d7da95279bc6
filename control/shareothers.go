package control

import (
	"encoding/json"
	"maps"
)

// wants are what clients want of shared limits: by kind ("requests" or
// "rates") and service, by node.id; -1 where that is not known. Each meshd
// tells the others what its clients want, and gives its clients their parts of
// what all want: so that a limit is one, however many meshds there are.
type wants map[string]map[string]float64

func (w wants) add(kind, service string, by map[string]float64) {
	if len(by) > 0 {
		w[kind+" "+service] = by
	}
}

// with is by, and what clients elsewhere want of the same.
func (w wants) with(kind, service string, by map[string]float64) map[string]float64 {
	elsewhere := w[kind+" "+service]
	if len(elsewhere) == 0 {
		return by
	}
	all := maps.Clone(elsewhere)
	maps.Copy(all, by)
	return all
}

// elsewhere is what the clients of other meshds want.
func (s *shares) elsewhere() wants {
	all := wants{}
	if s.others == nil {
		return all
	}
	for _, b := range s.others() {
		var w wants
		if err := json.Unmarshal(b, &w); err != nil {
			s.log.Warn("another meshd tells what is not known of shared limits", "error", err,
				"next", "run the same version of meshd everywhere")
			continue
		}
		for k, by := range w {
			if all[k] == nil {
				all[k] = by
			} else {
				maps.Copy(all[k], by)
			}
		}
	}
	return all
}

// say tells the other meshds.
func (s *shares) say(w wants) {
	if s.notice == nil {
		return
	}
	var b []byte
	if len(w) > 0 {
		b, _ = json.Marshal(w)
	}
	if err := s.notice(b); err != nil {
		s.log.Warn("other meshds are not told what clients want of shared limits", "error", err,
			"next", "see that the registry is reachable; it is tried again")
	}
}
