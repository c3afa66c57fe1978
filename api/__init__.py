"""The read API: events, profiles and their properties over HTTP, in bounded pages."""
