"""Image in, finished result out."""
