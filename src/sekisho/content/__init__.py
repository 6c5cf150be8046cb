"""What a policy allows to be kept of requests and answers: encrypted per organisation, with an end date."""
