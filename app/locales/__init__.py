"""The texts of the screens, one TOML file per language."""
