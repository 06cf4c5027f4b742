"""What firms say of visits, anonymously: a token on paper, a form for anybody who has one, and counts."""
