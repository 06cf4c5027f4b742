"""Handhelds: enrolment with approval, their keys, their officers, revocation, last seen."""
