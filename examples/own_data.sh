#!/usr/bin/env bash
# From your own passages and questions to a model that searches them.
#
#     examples/own_data.sh CORPUS.jsonl TRAIN.jsonl DEV.jsonl [FOLDER]
#
# CORPUS: one passage a line, {"id", "title", "text"}. TRAIN: questions that name their gold passages, {"question",
# "answers", "gold_titles"}, or HotpotQA's, 2WikiMultiHopQA's or MuSiQue's own files. DEV: {"question", "answers"}. Any of
# them may be compressed.
set -euo pipefail
corpus=$1 train=$2 dev=$3 folder=${4:-runs/own-data}

ragr1-lite index build "$corpus" --out "$folder/index" --overwrite
ragr1-lite data generate "$train" --index "$folder/index" --teacher gold --mode multi --k 2 --overwrite \
    --out "$folder/gold.jsonl"
ragr1-lite sft sft-own-data --overwrite --set output="$folder/sft" \
    --set data.train="$folder/gold.jsonl" --set retrieval.index="$folder/index"
ragr1-lite eval --data "$dev" --index "$folder/index" --questions 100 --k 2 \
    --adapter "$folder/sft/adapter" --mode multi --mode rag --mode direct
