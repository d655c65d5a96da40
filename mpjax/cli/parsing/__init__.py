"""Parts of the command line that all commands share: common options, `--config`, next steps."""
