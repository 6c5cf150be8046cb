"""HTTP/1.1, server and client, on uvloop. See `interfaces` for what each side promises."""
