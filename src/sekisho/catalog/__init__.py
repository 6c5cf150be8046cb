"""What should be: jurisdictions, organisations, providers, sites, models, deployments and the facts about them."""
