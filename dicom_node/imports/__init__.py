"""Old studies brought in from folders, media and Orthanc: they may train and are never answered."""
