"""Rows of a delimited text to columns of numbers; what is not plain is left to the caller."""

import numpy as np

from ompd._kernels.decimals import BITS, NO_NUMBER, VALUE, parse
from ompd._kernels.jit import kernel

#: What a column of the file holds, where it is no feature.
SKIP, LABEL, ID = -1, -2, -3
#: How reading ended: at the end or after so many rows, or before a row that is not plain.
GOOD, UNUSUAL = 0, 1

#: Longest cell, as in the csv module.
_LONGEST = 131_072
_NUL, _QUOTE = np.uint8(0), np.uint8(34)
_TAB, _LINE, _RETURN, _BLANK = np.uint8(9), np.uint8(10), np.uint8(13), np.uint8(32)


@kernel()
def _is_word(text, start, end, words, first, last):
    if end - start != last - first:
        return False
    place = 0
    while place < end - start and text[start + place] == words[first + place]:
        place += 1
    return place == end - start


@kernel()
def _find(text, start, end, words, bounds, first, last):
    """Return the place of the word in text[start:end] among words first to last; -1 if none."""
    for word in range(first, last):
        if _is_word(text, start, end, words, bounds[word], bounds[word + 1]):
            return word
    return -1


@kernel()
def _bounds_of(text, position, end, separator):
    """Return (place behind a cell, begin and end of its content); -1 first if it is not plain."""
    start = position
    if position < end and text[position] == _QUOTE:
        position += 1
        start = position
        while position < end and text[position] != _QUOTE:
            if text[position] in (_LINE, _RETURN):
                return -1, start, start
            position += 1
        stop = position
        position += 1
        if position > end:
            return -1, start, start
        if position < end and text[position] not in (separator, _LINE, _RETURN):
            return -1, start, start
    else:
        while position < end:
            byte = text[position]
            if byte in (separator, _LINE, _RETURN):
                break
            if byte in (_QUOTE, _NUL):
                return -1, start, start
            position += 1
        stop = position
    if stop - start > _LONGEST:
        return -1, start, start
    return position, start, stop


@kernel()
def _is_number(text, start, end, decimal, values, bits, row, place):
    """Whether text[start:end] is a number, and put it in its place: for cells in quotes."""
    what, value, pattern, stop = parse(text, start, end, decimal)
    if stop != end:
        return False
    if what == VALUE:
        values[row, place] = value
        return True
    if what == BITS:
        bits[row, place] = pattern
        return True
    return False


@kernel()
def read_rows(
    text,
    position,
    separator,
    decimal,
    places,
    numeric,
    words,
    bounds,
    first_word,
    meanings,
    values,
    bits,
    codes,
    names,
    widths,
    todo,
):
    """Read rows from `position` until `values` is full, the text ends, or a row is not plain.

    text : uint8 (length,), without breaks at its end; separator, decimal : bytes.
    places : int64 (columns,), the feature that a column holds, or `SKIP`, `LABEL`, `ID`.
    numeric : bool (columns,), whether cells may be numbers.
    words, bounds, first_word, meanings : texts of column c are words[bounds[w]:bounds[w + 1]]
    for w from first_word[c] to first_word[c + 1] - 1, and mean meanings[w].
    values, bits : float64 and uint64 views of one (rows, features); codes : int64 (rows,).
    names : int64 (rows, 2), where the id of each row begins and ends.
    widths : int64 (rows,), number of cells.
    todo : int64 (rows * columns, 4), row, column, begin and end of cells left to the caller.
    Returns (rows, position behind them, cells left to the caller, how it ended).
    """
    end = len(text)
    columns = len(places)
    row = 0
    left = 0
    while row < len(values) and position < end:
        before = position
        left_before = left
        column = 0
        if text[position] == _LINE or text[position] == _RETURN:
            return row, before, left, UNUSUAL
        codes[row] = -1
        while True:
            start = position
            what = NO_NUMBER
            if column < columns and numeric[column]:
                # Most cells: a number and nothing else, looked at once.
                while position < end and text[position] in (_BLANK, _TAB):
                    position += 1
                what, value, pattern, position = parse(text, position, end, decimal)
                while position < end and text[position] in (_BLANK, _TAB):
                    position += 1
                stops = position == end or text[position] in (separator, _LINE, _RETURN)
                if stops and what == VALUE:
                    values[row, places[column]] = value
                elif stops and what == BITS:
                    bits[row, places[column]] = pattern
                else:
                    what = NO_NUMBER
                    position = start
            if what != NO_NUMBER:
                if position - start > _LONGEST:
                    return row, before, left_before, UNUSUAL
            else:
                position, start, stop = _bounds_of(text, position, end, separator)
                if position < 0:
                    return row, before, left_before, UNUSUAL
                if column < columns and places[column] != SKIP:
                    place = places[column]
                    inner, outer = start, stop
                    while inner < outer and text[inner] in (_BLANK, _TAB):
                        inner += 1
                    while inner < outer and text[outer - 1] in (_BLANK, _TAB):
                        outer -= 1
                    if place == ID:
                        names[row, 0] = inner
                        names[row, 1] = outer
                    elif numeric[column] and _is_number(
                        text, inner, outer, decimal, values, bits, row, place
                    ):
                        pass
                    else:
                        first, last = first_word[column], first_word[column + 1]
                        found = _find(text, start, stop, words, bounds, first, last)
                        if found < 0 and (inner != start or outer != stop):
                            found = _find(text, inner, outer, words, bounds, first, last)
                        if place == LABEL:
                            if found >= 0:
                                codes[row] = np.int64(meanings[found])
                        else:
                            values[row, place] = meanings[found] if found >= 0 else np.nan
                        if found < 0:
                            todo[left, 0] = row
                            todo[left, 1] = column
                            todo[left, 2] = start
                            todo[left, 3] = stop
                            left += 1
            column += 1
            if position == end:
                break
            if text[position] == separator:
                position += 1
                continue
            if text[position] == _RETURN and position + 1 < end and text[position + 1] == _LINE:
                position += 1
            position += 1
            break
        widths[row] = column
        if column != columns:
            left = left_before
        row += 1
    return row, position, left, GOOD


@kernel()
def gather(text, names, out):
    """Copy text[names[r, 0]:names[r, 1]] to the front of out[r], uint8 (rows, width) of zeros."""
    for row in range(len(names)):
        for place in range(names[row, 1] - names[row, 0]):
            out[row, place] = text[names[row, 0] + place]
