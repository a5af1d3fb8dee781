# Trains the tokenizer on texts and prints it as tokenizer.json: BPE as Llama 2 has it, spaces as U+2581, byte fallback.
#
#   LC_ALL=C awk -f make_tokenizer.awk text.jsonl task.jsonl template.txt > tokenizer.json
#
# Words are runs of letters or of "#" with the space before them; inside here the space is "_". The pair of neighbours
# that is most frequent over all words becomes a new token, until every word is one token; a tie goes to the pair that
# sorts first, so that every awk trains the same tokenizer.
{
    gsub(/\\n/, "\n")
    gsub(/[^A-Za-z#\n ]/, "~")  # a border between words
    gsub(/\n/, "~")
    gsub(/ /, "_")
    gsub(/_/, " _")
    gsub(/~/, " ")
    for (i = 1; i <= NF; i++) if ($i != "_") count[$i]++
}

END {
    for (word in count) pieces[word] = spaced(word)
    while (find_best()) merge_best()
    print_tokenizer()
}

function spaced(word,    i, text) {
    text = substr(word, 1, 1)
    for (i = 2; i <= length(word); i++) text = text " " substr(word, i, 1)
    return text
}

function find_best(    word, parts, n, i, pair, sum) {
    for (word in pieces) {
        n = split(pieces[word], parts, " ")
        for (i = 1; i < n; i++) sum[parts[i] " " parts[i + 1]] += count[word]
    }
    best = ""
    for (pair in sum)
        if (best == "" || sum[pair] > sum[best] || (sum[pair] == sum[best] && pair < best)) best = pair
    return best != ""
}

function merge_best(    word, parts, n, i, pair, text) {
    merges[++n_merges] = best
    split(best, pair, " ")
    for (word in pieces) {
        n = split(pieces[word], parts, " ")
        text = ""
        for (i = 1; i <= n; i++) {
            text = text " " parts[i]
            if (i < n && parts[i] == pair[1] && parts[i + 1] == pair[2]) text = text parts[++i]
        }
        pieces[word] = substr(text, 2)
    }
}

function quoted(text) {
    gsub(/[\\"]/, "\\\\&", text)
    gsub(/_/, "\342\226\201", text)
    return "\"" text "\""
}

function token(text) {
    vocabulary = vocabulary (n_tokens ? ",\n" : "") "      " text ": " n_tokens + 0
    n_tokens++
}

function print_tokenizer(    i, list, special, parts) {
    token("\"<unk>\"")
    token("\"<s>\"")
    token("\"</s>\"")
    for (i = 0; i < 256; i++) token(sprintf("\"<0x%02X>\"", i))
    token(quoted("_"))
    for (i = 33; i < 127; i++) token(i == 95 ? "\"_\"" : quoted(sprintf("%c", i)))
    for (i = 1; i <= n_merges; i++) {
        split(merges[i], parts, " ")
        token(quoted(parts[1] parts[2]))
        list = list (i > 1 ? ",\n" : "") "      " quoted(merges[i])
    }
    special = "\"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}"
    print "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,"
    print "  \"added_tokens\": ["
    print "    {\"id\": 0, \"content\": \"<unk>\", " special ","
    print "    {\"id\": 1, \"content\": \"<s>\", " special ","
    print "    {\"id\": 2, \"content\": \"</s>\", " special
    print "  ],"
    print "  \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": ["
    print "    {\"type\": \"Prepend\", \"prepend\": " quoted("_") "},"
    print "    {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": " quoted("_") "}"
    print "  ]},"
    print "  \"pre_tokenizer\": null,"
    print "  \"post_processor\": {"
    print "    \"type\": \"TemplateProcessing\","
    print "    \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, " \
          "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}],"
    print "    \"pair\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, " \
          "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],"
    print "    \"special_tokens\": {\"<s>\": {\"id\": \"<s>\", \"ids\": [1], \"tokens\": [\"<s>\"]}}"
    print "  },"
    print "  \"decoder\": {\"type\": \"Sequence\", \"decoders\": ["
    print "    {\"type\": \"Replace\", \"pattern\": {\"String\": " quoted("_") "}, \"content\": \" \"},"
    print "    {\"type\": \"ByteFallback\"},"
    print "    {\"type\": \"Fuse\"},"
    print "    {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}"
    print "  ]},"
    print "  \"model\": {"
    print "    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": \"<unk>\","
    print "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,"
    print "    \"fuse_unk\": true,\n    \"byte_fallback\": true,\n    \"ignore_merges\": false,"
    print "    \"vocab\": {\n" vocabulary "\n    },"
    print "    \"merges\": [\n" list "\n    ]"
    print "  }\n}"
}
