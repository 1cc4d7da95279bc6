// Package supervise runs processes as a supervision tree, in Erlang's words.
//
// A [Supervisor] is one instance: the application and its sidecar. Its
// children restart one for one: when the sidecar dies the application lives
// on, and the other way round. Restarts are immediate the first time and
// backed off after that; more than [Intensity] allows and the whole instance
// is given up, which stops its other children and nothing else. Stopping goes
// against the order of starting, so that the sidecar drains while its
// application still answers.
//
// A [Pool] holds the instances of one service and is scaled; each instance
// has ports of its own, kept for as long as it lives.
//
// Every child leads a process group of its own, so that a Ctrl-C at the
// terminal reaches only the supervisor, and so that whatever a child started
// ends with it. A child is killed by the kernel if its supervisor dies
// (PR_SET_PDEATHSIG); that does not reach what the child itself started.
package supervise
