"""Plants known bugs of BERT code bases, one by one, in a copy of this tree, and runs the tests that should catch each.

    python scripts/planted_bugs.py [PART_OF_A_NAME …]        without names: all bugs, about 30 minutes on 2 cores

Prints a line for each bug. The exit code is 1 if a bug was not caught, or its place in the source no longer exists.
"""

import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from faults.row_bugs import ROW, ROW_BUGS, Bug

BUGS = {
    "slow weights start at 0": Bug(
        "steady_bert/rule_optimizer.py",
        "return tf.where_v2(tf.equal(count, 1.0), values[WEIGHT], values[slot])",
        "return tf.identity(values[slot])",
        "tests/optimizers_test.py -k lookahead",
    ),
    "the step is counted twice": Bug(
        "steady_bert/rule_optimizer.py",
        "step = strategy.extended.update(container(global_step), _add_one, group=True)",
        "step = strategy.extended.update(container(global_step), lambda v: tf.assign_add(v, 2), group=True)",
        "tests/optimization_test.py",
    ),
    "an iterator of gradients is read twice": Bug(
        "steady_bert/rule_optimizer.py",
        "        pairs = [\n",
        "        names = [v.op.name for _, v in grads_and_vars]\n        pairs = [\n",
        "tests/optimization_test.py",
    ),
    "the clip norm is that of one replica": Bug(
        "steady_bert/rule_optimizer.py",
        "self._norm_and_factor(on_one_replica, scale)",
        "self._norm_and_factor([each / strategy.num_replicas_in_sync for each in on_one_replica], scale)",
        "tests/optimization_test.py -k two_replicas",
    ),
    "gradients are clipped before they are summed": Bug(
        "steady_bert/rule_optimizer.py",
        "        summed = strategy.extended.batch_reduce_to(",
        "        clip = lambda gradient: tf.clip_by_norm(gradient, 1.0)\n"
        "        gradients = [strategy.extended.call_for_each_replica(clip, args=(g,)) for g in gradients]\n"
        "        summed = strategy.extended.batch_reduce_to(",
        "tests/run_classifier_test.py -m slow -k two_replicas",
    ),
    "an overflow moves what the rule keeps": Bug(
        "steady_bert/rule_optimizer.py",
        "        if numbers.finite is not None:",
        "        if False:",
        "tests/loss_scale_test.py -k moves_nothing",
    ),
    "rows without a gradient rest": Bug(
        "steady_bert/rule_optimizer.py",
        "            if not self._rests(treatment) or self._has_copies():",
        "            if False:",
        "tests/sparse_and_compiled_updates_test.py -k adamw",
    ),
    "a table whose rows rest is passed over": Bug(
        "steady_bert/optimizers.py",
        "    return Rule({}, lambda g, slots, t: (g, {}), lambda g, t: np.full_like(t, g), rests=True)",
        "    return Rule({}, lambda g, slots, t: (g, {}), lambda g, t: np.full_like(t, g))",
        "tests/sparse_and_compiled_updates_test.py -k passed_over",
    ),
    "a row that two replicas have moves by one of them": Bug(
        "steady_bert/rule_optimizer.py",
        "            if strategy.num_replicas_in_sync > 1:  # a sum",
        "            if False:  # a sum",
        "tests/sparse_and_compiled_updates_test.py -k two_replicas",
    ),
    "parts are scaled as if they weighed the same": Bug(
        "steady_bert/training/towers.py",
        "    weight = replicas.sum(tf.add_n(weights[:: len(weights) // parts]))",
        "    weight = replicas.sum(weights[0] * parts)",
        "tests/session_engine_test.py -k parts",
    ),
    "padded positions are attended to": Bug(
        "steady_bert/base/fast_attention.py",
        "transpose_b=True) + score_bias)",
        "transpose_b=True) + 0.0 * score_bias)",
        "tests/session_engine_test.py -k learned",
    ),
    "one compilation serves what is decayed and what is not": Bug(
        "steady_bert/rule_optimizer.py",
        "        if treatment not in self._compiled_updates:\n",
        "        treatment = next(iter(self._compiled_updates), treatment)\n"
        "        if treatment not in self._compiled_updates:\n",
        "tests/sparse_and_compiled_updates_test.py -k adamw",
    ),
    "a weight moves before its copies have read it": Bug(
        "steady_bert/rule_optimizer.py",
        "    with tf.control_dependencies([tf.group(*values.values())]):",
        "    with tf.control_dependencies([]):",
        "tests/sparse_and_compiled_updates_test.py -k an_update",
    ),
    "sequences that share a row of attention see each other": Bug(
        "steady_bert/base/token_layout.py",
        "    return TokenLayout(height, width, places), tf.equal(sequence[:, :, None], sequence[:, None, :])",
        "    return TokenLayout(height, width, places), sequence[:, :, None] + sequence[:, None, :] > -2",
        "tests/compiled_form_test.py -k padded_square",
    ),
    "rows that round their number up are seen": Bug(
        "steady_bert/base/token_layout.py",
        "        return square if self.real is None else tf.where_v2(self.real[:, :, None], square, 0.0)",
        "        return square",
        "tests/modeling_test.py -k padding_free",
    ),
    "both halves of a random word are one": Bug(
        "steady_bert/base/randomness.py",
        "tf.bitcast(bits, tf.int16)",
        "tf.tile(tf.bitcast(bits, tf.int16)[:, :1], [1, 2])",
        "tests/tensor_parts_test.py -k independently",
    ),
    "LayerNorm is decayed": Bug(
        "steady_bert/optimizer_config.py",
        'NO_DECAY = ("LayerNorm", "layer_norm", "bias")',
        'NO_DECAY = ("layer_norm", "bias")',
        "tests/optimization_test.py",
    ),
    "plateau's state is lost on a resume": Bug(
        "steady_bert/training/session_engine.py",
        "    step, state = _step_and_state(engine)\n",
        "    step, state = _step_and_state(engine)\n"
        '    state = state._replace(plateau_best=float("-inf"), plateau_evaluations=0)\n',
        "tests/session_engine_test.py -k plateau",
    ),
    "the count of consumed examples is lost on a resume": Bug(
        "steady_bert/training/session_engine.py",
        "    step, state = _step_and_state(engine)\n",
        "    step, state = _step_and_state(engine)\n    state = state._replace(examples_consumed=0)\n",
        "tests/session_engine_test.py -k between_two",
    ),
    "averages are lost on a resume": Bug(
        "steady_bert/training/session_engine.py",
        "for name, variable in variables.items() if name in shapes}",
        'for name, variable in variables.items() if name in shapes and not name.endswith("/ema")}',
        "tests/session_engine_test.py -k averages",
    ),
    "an automatic rate is computed anew in a run that goes on": Bug(
        "steady_bert/training/run.py",
        "    return saved.schedule.learning_rate if saved and checkpoint.steps_in(folder) else None",
        "    return None",
        "tests/automatic_rate_test.py",
    ),
    "predictions stay in the order of their batches": Bug(
        "steady_bert/training/session_engine.py",
        "zip(replicas, np.split(numbers, ends[:-1]))",
        "zip(replicas, np.split(np.sort(numbers), ends[:-1]))",
        "tests/session_engine_test.py -k file_order",
    ),
    "tags are shifted by one piece": Bug(
        "steady_bert/tasks/tagging/assembly.py",
        '            "tag_ids": tags + [0],',
        '            "tag_ids": tags[1:] + [0, 0],',
        "tests/tagging_test.py -k first_piece",
    ),
    "padding counts as O": Bug(
        "steady_bert/tasks/tagging/assembly.py",
        "    counted = tf.cast(tf.equal(roles, COUNTED), tf.float32)",
        "    counted = tf.ones_like(roles, tf.float32)",
        "tests/tagging_test.py -k squashing",
    ),
    "logits go through tanh": Bug(
        "steady_bert/tasks/tagging/layers.py",
        "    logits = tf.reshape(tf.cast(logits, tf.float32), [batch_size, length, tags])",
        "    logits = tf.reshape(tf.tanh(logits), [batch_size, length, tags])",
        "tests/tagging_test.py -k squashing",
    ),
    "the head drops out at evaluation": Bug(
        "steady_bert/tasks/tagging/assembly.py",
        "    dropout_prob = inputs.bert_config.hidden_dropout_prob if is_training else 0.0",
        "    dropout_prob = inputs.bert_config.hidden_dropout_prob",
        "tests/tagging_test.py -k dropout_is_off",
    ),
    "what does not fit a window is cut off": Bug(
        "steady_bert/tasks/tagging/windows.py",
        "    while end < words:",
        "    while not shown:",
        "tests/tagging_test.py -k first_piece",
    ),
    "a window in mid-sentence begins a sentence": Bug(
        "steady_bert/tasks/tagging/layers.py",
        "    first = tf.one_hot(tf.where_v2(words.starts, 0, -1), length)",
        "    first = tf.one_hot(tf.zeros_like(words.lengths), length)",
        "tests/tagging_test.py -k mid_sentence",
    ),
    "a text weighs as much as it has windows": Bug(
        "steady_bert/tasks/classification/assembly.py",
        '        share = 1.0 / tf.cast(batch["windows"], tf.float32)',
        '        share = tf.ones_like(batch["windows"], tf.float32)',
        "tests/classification_test.py -k windows",
    ),
    "the last window of a text is left out": Bug(
        "steady_bert/tasks/classification/long_texts.py",
        "    return 1 if length <= room else 1 + -(-(length - room) // _step(room, stride))",
        "    return 1 if length <= room else 1 + (length - room) // _step(room, stride)",
        "tests/long_texts_test.py -k cover",
    ),
    "the threshold lies on the wrong side of a probability": Bug(
        "steady_bert/tasks/classification/scores.py",
        "    middle = np.where(middle > below, middle, values)",
        "    middle = below",
        "tests/classification_scores_test.py -k a_threshold_has",
    ),
    "each worker trains on the first one's slice": Bug(
        "steady_bert/training/session_engine.py",
        "        replica = devices.replica_id(strategy, link.index)\n\n        def batch_of",
        "        replica = 0\n\n        def batch_of",
        "tests/multi_worker_test.py -m slow -k adamw",
    ),
    "workers evaluate what the chief does": Bug(
        "steady_bert/training/session_engine.py",
        "batch_size), worker, None, workers):",
        "batch_size), 0, None, workers):",
        "tests/multi_worker_test.py -m slow -k adamw",
    ),
    "a record is used unverified": Bug(
        "steady_bert/training/feature_cache.py",
        'return records if list(map(zlib.crc32, records)) == entries["crc32"].tolist() else None',
        "return records",
        "tests/feature_cache_test.py -k damaged",
    ),
    "weights that are not finite are saved": Bug(
        "steady_bert/training/saver.py",
        "finite = _sums_are_finite([tensors[name] for name in checked])",
        "finite = tf.constant(True)",
        "tests/session_engine_test.py -k infinite",
    ),
    "a manifest of files being written allows no kill": Bug(
        "steady_bert/training/manifest.py",
        "if actual == expected or actual is not None and actual == pending:",
        "if actual == expected:",
        "tests/manifest_test.py -k kill",
    ),
    "a cache entry is opened unverified": Bug(
        "steady_bert/training/feature_cache.py",
        "return files.crc32_of_file(path) == description[_CHECKSUMS][os.path.splitext(path)[1]]",
        "return os.path.exists(path)",
        "tests/feature_cache_test.py -k damaged",
    ),
    "the second replica is not restored": Bug(
        "steady_bert/training/session_engine.py",
        "in engine.strategy.experimental_local_results(variables[name]):",
        "in engine.strategy.experimental_local_results(variables[name])[:1]:",
        "tests/run_classifier_test.py -m slow -k two_replicas",
    ),
    "Hugging Face's gelu is taken for the approximation by tanh": Bug(
        "steady_bert/interchange/configurations.py",
        '    "gelu": "gelu_erf",\n',
        '    "gelu": "gelu",\n',
        "tests/hugging_face_folders_test.py -k exact_one",
    ),
    "bfloat16 is read as float16": Bug(
        "steady_bert/interchange/safetensors_files.py",
        '(values.astype("<u4") << 16).view("<f4")',
        'values.view("<f2")',
        "tests/hugging_face_folders_test.py -k two_bytes",
    ),
    "a conversion is found by the names of its files": Bug(
        "steady_bert/interchange/converted.py",
        "{name: files.sha256_of_file(os.path.join(folder, name)) for name in sorted(names)}",
        "dict.fromkeys(sorted(names), folder)",
        "tests/hugging_face_folders_test.py -k converted_once",
    ),
    "a damaged conversion is used": Bug(
        "steady_bert/interchange/converted.py",
        "        if not _is_whole(entry):",
        "        if not os.path.exists(entry):",
        "tests/hugging_face_folders_test.py -k converted_once",
    ),
    "an export holds the weights in place of their averages": Bug(
        "steady_bert/export/tf1.py",
        "tensors = weights.served_tensors(run.prefix)",
        "names = weights.weights_among(checkpoint.shapes_in(run.prefix))\n"
        "    tensors = {name: checkpoint.Reader(run.prefix).tensor(name) for name in names}",
        "tests/export_model_test.py -k averages",
    ),
    "the export of a CRF takes each word's best tag": Bug(
        "steady_bert/export/saved_model.py",
        'tag_ids, lengths = computed["tag_ids"], tf.reduce_sum(starts, axis=1)',
        "tag_ids, lengths = tf.argmax(computed[LOGITS], -1, output_type=tf.int32), tf.reduce_sum(starts, axis=1)",
        "tests/export_model_test.py -k crf",
    ),
    "a served run reads its weights, not their averages": Bug(
        "steady_bert/serving/graph.py",
        "    checkpoint.assign(session, by_name, weights.served_tensors(run.prefix, report.loaded))",
        "    reader = tf.train.load_checkpoint(run.prefix)\n"
        "    checkpoint.assign(session, by_name, {name: reader.get_tensor(name) for name in report.loaded})",
        "tests/serving_test.py -k prediction_file",
    ),
    "a batch of requests has no limit": Bug(
        "steady_bert/serving/batching.py",
        "while self._waiting and tokens + self._waiting[0].asked.tokens <= self._batch_tokens:",
        "while self._waiting:",
        "tests/serving_batches_test.py",
    ),
    "a body has no limit": Bug(
        "steady_bert/serving/gate.py",
        "            if len(body) > self._max_body_bytes:",
        "            if len(body) > 1 << 40:",
        "tests/serve_test.py -k chunks",
    ),
    "a whole word that does not fit is masked": Bug(
        "steady_bert/tasks/pretraining/instances.py",
        "if len(positions) + len(word) > wanted:",
        "if len(positions) + 1 > wanted:",
        "tests/pretraining_data_test.py -k whole_word_that",
    ),
    "documents of one process share a generator": Bug(
        "steady_bert/tasks/pretraining/making.py",
        '            rng.seed("{}/{}/{}".format(here.config.random_seed, number, document))\n',
        '            document == first and rng.seed("{}".format(os.getpid()))\n',
        "tests/pretraining_data_test.py -k number_of_processes",
    ),
    "every pass over the documents has the same masks": Bug(
        "steady_bert/tasks/pretraining/making.py",
        '"{}/{}/{}".format(here.config.random_seed, number, document)',
        '"{}/{}".format(here.config.random_seed, document)',
        "tests/pretraining_data_test.py -k number_of_processes",
    ),
    "masks are the same in every epoch": Bug(
        "steady_bert/tasks/pretraining/assembly.py",
        'keys = ["{}/{}/{}".format(seed, epoch, number)',
        'keys = ["{}/{}/{}".format(seed, 0, number)',
        "tests/run_pretraining_test.py -k function_of",
    ),
    "two losses share a mean": Bug(
        "steady_bert/training/towers.py",
        "    mean = loss / weight\n",
        "    mean = loss / tf.reduce_max(weight)\n",
        "tests/run_pretraining_test.py -k by_command",
    ),
    "the words of a segmentation are masked apart": Bug(
        "steady_bert/tasks/pretraining/examples.py",
        "continues = is_chinese and after_chinese and at not in starts",
        "continues = False",
        "tests/run_pretraining_test.py -k whole_words",
    ),
    "features go on after what was not saved": Bug(
        "steady_bert/extraction/outputs.py",
        '            self._files[name].truncate(state["sizes"].get(name, 0))\n',
        "",
        "tests/extract_features_test.py -k stopped",
    ),
    "a recomputed layer keeps its products": Bug(
        "steady_bert/base/compiled_layer.py",
        "            if form.recompute:",
        "            if False:",
        "tests/compiled_form_test.py -k compiled_form_has",
    ),
    "layer 0 is the embeddings": Bug(
        "steady_bert/extraction/job.py",
        "return tuple(layer % count + 1 for layer in layers)",
        "return tuple(layer % (count + 1) for layer in layers)",
        "tests/extract_features_test.py -k arrays",
    ),
    "two examples have one position in an epoch": Bug(
        "steady_bert/training/permutation.py",
        "            partner = (offset + (self._n - x)) % self._n\n",
        "            partner = (offset + x) % self._n\n",
        "tests/input_pipeline_test.py -k bijection",
    ),
    "the rate forgets its end": Bug(
        "steady_bert/schedules.py",
        "    ) ** config.decay_power + config.end_learning_rate\n",
        "    ) ** config.decay_power\n",
        "tests/schedules_test.py -k formula",
    ),
    "macro F1 is micro F1": Bug(
        "steady_bert/tasks/metrics.py",
        'f1_score(labels, predictions, average="macro", zero_division=0)',
        'f1_score(labels, predictions, average="micro", zero_division=0)',
        "tests/metrics_test.py -k macro",
    ),
    "accents stay": Bug(
        "tokenization.py",
        "        return _without_accents(text)\n",
        "        return text\n",
        "tests/tokenization_test.py",
    ),
    "any proof of the key is taken": Bug(
        "steady_bert/training/link_messages.py",
        "    return hmac.compare_digest(_bytes_of(given), _bytes_of(expected))",
        "    return True",
        "tests/link_strangers_test.py -k strangers",
    ),
    "a pickle of PyTorch may run code": Bug(
        "steady_bert/interchange/torch_to_safetensors.py",
        'map_location="cpu", weights_only=True)',
        'map_location="cpu", weights_only=False)',
        "tests/hugging_face_folders_test.py -k pytorch_file",
    ),
    "a noun and its pronoun are marked alike": Bug(
        "steady_bert/tasks/classification/clue.py",
        '("span2", "[", "]")',
        '("span2", "_", "_")',
        "tests/clue_test.py -k line",
    ),
    "a page has a flag that does not exist": Bug(
        "README.md",
        "--text_columns=body",
        "--text_column=body",
        "tests/docs_commands_test.py -k every_command",
    ),
    "a halved encoder passes": Bug(
        "steady_bert/diagnosis/tensors.py",
        "        projection=product / given if compared else None,",
        "        projection=product / own if compared else None,",
        "tests/doctor_folders_test.py -k halved",
    ),
    "a folder whose rate is 0 is continued": Bug(
        "steady_bert/diagnosis/rates.py",
        "    return Rate(source, at(step - 1) if step else None, at(step), end, linear)",
        "    return Rate(source, at(step - 1) if step else None, at(step - 1), end, linear)",
        "tests/doctor_folders_test.py -k rate_zero",
    ),
    "a run of a search is judged before its rivals have come so far": Bug(
        "steady_bert/search/pruning.py",
        "        if any(not other.is_final and not _has_passed(other, step) for other in lower):",
        "        if False:",
        "tests/search_test.py -k verdicts",
    ),
    "the runs of a search outlive it": Bug(
        "steady_bert/search/processes.py",
        "        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)\n",
        "",
        "tests/search_test.py -k outlive",
    ),
    **ROW_BUGS,
}


def caught(bug: Bug) -> bool:
    """Whether the tests fail on a copy with the bug. Exits if the source no longer has the bug's place."""
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "tree")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "quickstart", "runs", "adapted"))
        path = os.path.join(copy, bug.file)
        with open(path, encoding="utf-8") as file:
            source = file.read()
        if source.count(bug.original) != 1:
            sys.exit("error: {}: {!r} is there {} times.".format(bug.file, bug.original, source.count(bug.original)))
        with open(path, "w", encoding="utf-8") as file:
            file.write(source.replace(bug.original, bug.planted))
        pytest = [] if bug.tests.startswith(ROW) else ["-m", "pytest", "-q", "-x"]
        command = [sys.executable, *pytest, *bug.tests.split()]
        code = subprocess.run(command, cwd=copy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
        return code == 1  # 2 and above: the tests, or scripts/reliability.py, could not be run


def main() -> None:
    wanted = [name for name in BUGS if not sys.argv[1:] or any(argument in name for argument in sys.argv[1:])]
    results = {}
    for name in wanted:
        results[name] = caught(BUGS[name])
        print("{}: {}".format("caught" if results[name] else "NOT CAUGHT", name), flush=True)
    sys.exit(0 if all(results.values()) else 1)


if __name__ == "__main__":
    main()
