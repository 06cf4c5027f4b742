"""HTTP ground shared by all domains: authentication, transactions, strict JSON, problems, paging, documentation."""
