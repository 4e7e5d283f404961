"""Practice data: the captcha generator, and scripts that draw samples and collect labels."""
