"""Pictures of many images: labelled sheets, still and moving. Nothing here knows of models."""
