"""The web pages for people: overview, conflicts and sign-in; server-rendered, Chinese and English, no outside hosts."""
