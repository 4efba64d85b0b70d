"""The subcommands of `edge`, a module for each family. Heavy imports stand inside the functions, so that help comes at once."""
