"""What a restored backup must not hide: how far each log was signed, kept outside the database."""
