"""Studio: a page in the browser that cuts out, segments and measures depth (the extra `studio`)."""
