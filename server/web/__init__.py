"""HTTP ground shared by all domains: authentication, transactions, strict JSON, problem details, paging, documentation."""
