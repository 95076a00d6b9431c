"""What every benchmark needs: measuring, runs, peers, affinities."""
