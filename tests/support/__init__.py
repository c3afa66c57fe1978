"""What the tests share: real servers, a database and topics for each test, real processes."""
