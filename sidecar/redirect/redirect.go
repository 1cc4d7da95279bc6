// Package redirect programs the nftables rules that send a pod's or a host's TCP
// connections to its sidecar, IPv4 and IPv6 alike. It talks to the kernel over netlink and
// needs no nft binary. It runs once, before the application does, and is not on the path
// of any request.
//
// The rules cannot loop: connections of the sidecar's user and connections that carry its
// mark are left alone, each by itself enough. Only connections opened after Install are
// redirected; those that exist go on as they were.
package redirect

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Install makes the rules of the calling thread's network namespace those of c, whatever
// was in the table before. It is one transaction: a connection opened meanwhile meets the
// old rules or the new ones, and after an error the old ones stand. Installing twice is
// installing once. Needs CAP_NET_ADMIN.
func Install(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	err := transact(c.Table, func(conn *nftables.Conn, t *nftables.Table) {
		conn.AddTable(t)
		accept := nftables.ChainPolicyAccept
		for _, ch := range c.chains() {
			nc := conn.AddChain(&nftables.Chain{
				Name: ch.name, Table: t, Type: nftables.ChainTypeNAT,
				Hooknum: ch.hook, Priority: nftables.ChainPriorityNATDest, Policy: &accept,
			})
			for _, r := range ch.rules {
				conn.AddRule(&nftables.Rule{Table: t, Chain: nc, Exprs: r.exprs})
			}
		}
	})
	return explain("install", c.Table, err)
}

// Remove deletes the table with all its rules; that there is none is no error. Only
// c.Table is read. Connections already redirected stay so until they end.
func Remove(c Config) error {
	if err := c.validateTable(); err != nil {
		return err
	}
	return explain("remove", c.Table, transact(c.Table, func(*nftables.Conn, *nftables.Table) {}))
}

// transact deletes the table, there or not, and does then in the same transaction.
func transact(table string, then func(*nftables.Conn, *nftables.Table)) error {
	// The kernel acknowledges each rule: leave room for the answers to the longest list.
	conn, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(4<<20), c.SetWriteBuffer(4<<20))
	}))
	if err != nil {
		return err
	}
	t := &nftables.Table{Name: table, Family: nftables.TableFamilyINet}
	conn.AddTable(t) // so that there is one to delete
	conn.DelTable(t)
	then(conn, t)
	return conn.Flush()
}

// explain says what a person can do about the errors that environments cause.
func explain(verb, table string, err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		hint = ": needs CAP_NET_ADMIN in the network namespace: run it as root, or in Kubernetes from an init container with securityContext.capabilities.add: [NET_ADMIN]"
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		hint = ": this kernel has no nf_tables (CONFIG_NF_TABLES_INET): load the module, or use http_proxy instead of redirection"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		hint = ": this kernel lacks a part of nf_tables (needed: nft_redir, nft_fib_inet, nf_nat): load the modules, or use http_proxy instead of redirection"
	}
	return fmt.Errorf("redirect: %s table inet %s: %w%s", verb, table, err, hint)
}
