// Opens ONNX files with Netron's own loader: node netron_open.mjs NETRON_FOLDER LIST, LIST naming one file per line.
// One line per file: its name, then "ok", the format and the number of nodes, or "error" and what is wrong.
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import * as url from 'node:url';

const [folder, list] = process.argv.slice(2);
const load = (id) => import(url.pathToFileURL(path.join(folder, `${id}.js`)));
const read = (file, encoding) => fs.readFile(path.join(folder, file), encoding);
const fail = (error) => { throw error; };
const base = await load('base');
const view = await load('view');
const host = { environment: () => ({}), require: load, asset: read, request: read, exception: fail, error: fail, event: () => {} };

const visit = (graph) => {
    let count = 0;
    for (const node of graph.nodes) {
        count += 1;
        if (!node.type || !node.type.name) {
            throw new Error('a node has no type');
        }
        for (const argument of [...node.inputs, ...node.outputs]) {
            for (const value of argument.value) {
                if (typeof value.name !== 'string') {
                    throw new Error(`a value of ${node.type.name} has no name`);
                }
            }
        }
    }
    return count;
};

for (const file of (await fs.readFile(list, 'utf-8')).split('\n').filter((line) => line)) {
    const name = path.basename(file);
    try {
        const stream = new base.BinaryStream(new Uint8Array(await fs.readFile(file)));
        const context = {
            identifier: name, stream, entries: new Map([[name, stream]]), require: load, asset: read, request: read,
            fetch: (wanted) => fail(new Error(`it asks for ${wanted}`)), error: fail
        };
        const model = await new view.ModelFactoryService(host).open(context);
        const count = model.modules.map(visit).reduce((a, b) => a + b, 0);
        console.log(`${name} ok ${model.format} ${count}`);
    } catch (error) {
        console.log(`${name} error ${error.message}`);
    }
}
