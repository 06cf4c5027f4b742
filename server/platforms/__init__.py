"""Third-party platforms and key firms (第三方平台与重点企业)."""
