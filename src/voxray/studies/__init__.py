"""Questions over clips and whole corpora, answered with what the rooms below measure; each study is a file of its own."""
