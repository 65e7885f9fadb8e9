package terminal

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// completionHelp is the long help of the verb; %[1]s is the program as the user types it, %[2]s the
// word that its files are named after.
const completionHelp = `To load completions:

Bash:

  $ source <(%[1]s completion bash)

  # To load completions for each session, execute once:
  # Linux:
  $ %[1]s completion bash > /etc/bash_completion.d/%[2]s
  # macOS:
  $ %[1]s completion bash > /usr/local/etc/bash_completion.d/%[2]s

Zsh:

  # If shell completion is not already enabled in your environment,
  # you will need to enable it.  You can execute the following once:

  $ echo "autoload -U compinit; compinit" >> ~/.zshrc

  # To load completions for each session, execute once:
  $ %[1]s completion zsh > "${fpath[1]}/_%[2]s"

  # You will need to start a new shell for this setup to take effect.

fish:

  $ %[1]s completion fish | source

  # To load completions for each session, execute once:
  $ %[1]s completion fish > ~/.config/fish/completions/%[2]s.fish

PowerShell:

  PS> %[1]s completion powershell | Out-String | Invoke-Expression

  # To load completions for every new session, run:
  PS> %[1]s completion powershell > %[2]s.ps1
  # and source this file from your PowerShell profile.
`

// Completion makes the verb "completion", which writes a shell script to stdout. Tree builds the
// command tree to be completed, its root named after the first word of name; for the name "cairn
// ctl" the script therefore completes "cairn", with "ctl" below it. The scripts ask the program
// back with the hidden verbs __complete and __completeNoDesc, the words of the line behind it.
func Completion(name string, stdout io.Writer, tree func() *cobra.Command) *cobra.Command {
	words := strings.Fields(name)
	return &cobra.Command{
		Use:                   "completion [bash|zsh|fish|powershell]",
		Short:                 "Generate completion script",
		Long:                  fmt.Sprintf(completionHelp, name, words[len(words)-1]),
		Example:               fmt.Sprintf("  source <(%s completion bash)", name),
		DisableFlagsInUseLine: true,
		ValidArgs:             []string{"bash", "zsh", "fish", "powershell"},
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(_ *cobra.Command, args []string) error {
			root := completionRoot(words, tree())
			var err error
			switch args[0] {
			case "bash":
				err = root.GenBashCompletion(stdout)
			case "zsh":
				err = root.GenZshCompletion(stdout)
			case "fish":
				err = root.GenFishCompletion(stdout, true)
			case "powershell":
				err = root.GenPowerShellCompletionWithDesc(stdout)
			}
			if err != nil {
				return Failf(ExitIO, "writing the completion script: %w", err)
			}
			return nil
		},
	}
}

// completionRoot hangs tree below commands for all words but the last.
func completionRoot(words []string, tree *cobra.Command) *cobra.Command {
	for i := len(words) - 2; i >= 0; i-- {
		parent := &cobra.Command{Use: words[i]}
		parent.CompletionOptions.DisableDefaultCmd = true
		parent.AddCommand(tree)
		tree = parent
	}
	return tree
}

// Root makes the root of a tree for a program that is typed as name: "etcdctl", or "cairn ctl".
func Root(name, short string) *cobra.Command {
	words := strings.Fields(name)
	last := words[len(words)-1]
	root := &cobra.Command{Use: last, Short: short, SuggestFor: []string{last}}
	if len(words) > 1 {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: name}
	}
	return root
}
