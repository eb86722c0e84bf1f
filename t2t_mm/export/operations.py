"""The operations that an export may contain, which are those linked into the binary of TensorFlow Serving.

They are core TensorFlow and the SentencePiece operations of TF.Text 2.12.1, which the servers 2.17 to 2.19 link. There are
no Python functions, nothing from tensorflow-io, and nothing that only newer releases of TF.Text have.
"""

from collections.abc import Iterable, Iterator

from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2

_TEXT = "SentencepieceDetokenizeOp SentencepieceOp SentencepieceTokenizeOp"
_CORE = """
Abs Add AddN AddV2 All Any ArgMax ArgMin AsString Assert AssignVariableOp BatchMatMul BatchMatMulV2 BatchMatMulV3
BesselI0 BiasAdd BroadcastArgs BroadcastTo Cast Ceil ClipByValue ComplexAbs Concat ConcatV2 ConcatenateDataset Const
Conv2D Cos Cumsum DatasetToSingleElement DecodeJpeg DecodePng DecodeRaw DecodeWav DeepCopy DenseBincount
DepthwiseConv2dNative DisableCopyOnRead Einsum Empty EnsureShape Equal Erf Exp ExpandDims ExtractJpegShape Fill Floor
FloorDiv FloorMod Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN If IgnoreErrorsDataset
InplaceUpdate IsFinite Less LessEqual LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MapDataset MatMul
Max MaxPool Maximum Mean MergeV2Checkpoints Min Minimum Mod Mul Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2
ParseExampleV2 PartitionedCall Placeholder PlaceholderWithDefault Pow Prod RFFT RaggedGather RaggedRange
RaggedTensorFromVariant RaggedTensorToTensor RaggedTensorToVariant Range Rank ReadVariableOp Real RealDiv Reciprocal
ReduceJoin Relu Reshape ResourceGather RestoreV2 ReverseV2 Rsqrt SaveV2 ScaleAndTranslate ScatterNd SegmentSum SegmentSumV2
Select SelectV2 Shape ShapeN ShardedFilename Sigmoid Sin Size Slice Softmax Softplus SpaceToBatchND Split SplitV Sqrt Square
SquaredDifference Squeeze StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile StaticRegexFullMatch
StaticRegexReplace StopGradient StridedSlice StringJoin StringLength StringSplitV2 Sub Substr Sum TakeDataset Tanh TensorDataset
TensorListFromTensor TensorListGetItem TensorListLength TensorListReserve TensorListSetItem TensorListStack
TensorScatterUpdate Tile TopKV2 Transpose UnicodeTranscode Unpack UnsortedSegmentJoin UnsortedSegmentSum VarHandleOp
VarIsInitializedOp Where While ZerosLike
"""
ALLOWED = frozenset(_CORE.split()) | frozenset(_TEXT.split())


def operations(saved: saved_model_pb2.SavedModel) -> set[str]:
    """Returns all operations of all graphs and functions, except for calls of a graph's own functions."""
    found = set()
    for graph in (meta_graph.graph_def for meta_graph in saved.meta_graphs):
        # A node can also call a function of the graph by its name, as if it were an operation.
        own = {function.signature.name for function in graph.library.function}
        found |= {node.op for node in nodes(graph)} - own
    return found


def nodes(graph: graph_pb2.GraphDef) -> Iterator[node_def_pb2.NodeDef]:
    """Yields the nodes of a graph and of all its functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def unknown(used: Iterable[str]) -> list[str]:
    """Returns the operations of `used` that are not allowed, sorted."""
    return sorted(set(used) - ALLOWED)
