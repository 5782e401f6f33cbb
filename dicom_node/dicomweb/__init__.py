"""DICOMweb (PS3.18): the store service in both roles, and as user the search for a study."""
