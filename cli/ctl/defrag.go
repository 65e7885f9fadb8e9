package ctl

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairnkv/cairn/cli/internal/terminal"
)

// defragCommand makes the verb "defrag".
func (a *app) defragCommand() *cobra.Command {
	var cluster bool
	cmd := &cobra.Command{
		Use:     "defrag",
		Short:   "Defragments the storage of the etcd members with given endpoints",
		Example: a.example("  $0 defrag --cluster"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.defrag(cmd, &cluster) },
	}
	cmd.PersistentFlags().BoolVar(&cluster, "cluster", false,
		"use all endpoints from the cluster member list")
	return cmd
}

func (a *app) defrag(cmd *cobra.Command, cluster *bool) error {
	failures := 0
	err := a.eachEndpoint(cmd, cluster, func(ctx context.Context, c *clientv3.Client, ep string) {
		start := time.Now()
		_, err := c.Defragment(ctx, ep)
		took := time.Since(start)
		if err == nil {
			err = a.say("Finished defragmenting etcd member[%s]. took %s", ep, took)
		}
		if err != nil {
			failures++
			a.warn("Failed to defragment etcd member[%s]. took %s. (%v)", ep, took, err)
		}
	})
	if err != nil {
		return err
	}
	if failures > 0 {
		return terminal.Fail(terminal.ExitError, nil)
	}
	return nil
}
