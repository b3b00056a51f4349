"""What tells speech from music in a stream: a recurrent network that hears every frame.

Of each frame of 20 ms it takes the levels of bands up to 8 kHz, relative to the loudest of the last
seconds, how even the spectrum is, and how fast it changes. It hears received samples alone, and
whether a frame follows the last. About 2 microseconds a frame.

References
----------
.. [1] K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
   machine translation", EMNLP, 2014: the gated recurrent unit.
"""

import base64
import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel, rounded_part
from plc_kernels.network.functions import log, sigmoid, tanh

BINS = 161
"""Of spectra whose bins are 50 Hz apart: up to 8 kHz."""
# Bands of 100 Hz up to 950 Hz, and wider ones above: the first bin of each, and the end.
_EDGES = np.array(
    [*range(1, 21, 2), 21, 24, 28, 32, 38, 43, 50, 58, 67, 77, 90, 104, 120, 138, 161], np.int64
)
BANDS = _EDGES.size - 1
EVEN, CHANGE, CHANGED, AFRESH = range(BANDS + 1, BANDS + 5)
"""Places behind the bands and the level: evenness, change, whether that is known, and whether no
frame stands before this one."""
INPUTS = BANDS + 5
"""Numbers of a frame that the network takes."""
UNITS = 24
MEMORY = 7 * UNITS
"""Numbers of the network's memory: its state, and what it works in."""

# The loudest falls by 1 dB a second, or by half of what lies below it: a bump of the microphone,
# 40 dB above the voice, is forgotten in a second.
_FALL_DB, _FALL_SHARE = 0.02, 0.01
# What is further below the loudest says little; and a frame of less power says nothing.
_LOUD_DB, _LEAST_POWER = 25.0, 1e-11
_FLAT_FROM, _FLAT_TO = 4, 125
_CHANGE_FROM, _CHANGE_TO = 2, 100
CHANGE_BINS = _CHANGE_TO - _CHANGE_FROM
"""Bins whose change is measured."""
APART_FRAMES = 2
"""Frames over which change is measured: 40 ms."""
LOUD, ROW = range(2)
"""Places in the counts: loud frames, and frames in a row."""
PEAK, LOGIT = range(2)
"""Places in the numbers: level of the loudest in dB, and what the network says."""

F = np.float32
WEIGHTS_STEP = F(1.0 / 64.0)
PACKED = (
    b"^#Jk$`~&s)`3wIB^9mOA6ZHA-2O;zW3J?Dx79I-u1O@*O1_cop6z%o)1Q+-&2k;RC1N`{;0`l$)`1=MI2K52@1ql2B"
    b"3<>oS0TB`V4iOCi0t^iU3JUTM{tFNG0ucxK`27YG4*vKN69oe7^a>0W2K4?62LcHX3<&q`2MzD|4f6r{2L=oM^Zp45"
    b"_7(R4`340G0}}!L^#%6#1^D#x_VoJ(4)prz5CQud76kDBBIfJz?H3RQ4B-X{2>t^H3jX=~3J?4I0r>t8{P_b2|NZy_"
    b"_xbl20sjU1@eTLv2N4nt^7irn2P6da5&#AB90Ca%`}h6$9q9h;1QiSs6YKf{_w)D!0uBfT3<vZF2J-*+4E+cQ`3e60"
    b"`TOb;2KW*X1qJu~{RIH~>G}lv0R#g82m1u$`tu1F`u_6=5%lco`5y)n{qP6w0RaU6_x$tt4FdKF1ONK*{QC$E1o-?1"
    b"`uXn;0r>k0_X6_?`2qp{^9c6!`3n302?-7J_4W)B3=sYe8V>I7?hgb91N#i|`vdP0^a$|x3J3%n1pNi}5C#qp4gL!X"
    b"^YZZy{s9FC{RImR_6`pN0tEs50~hTG{1_DX=l&N45BB&11`Y)B{rdy@0`&m{1^f97`VR#O0R!?D1rPiD6Ac0R{|pBd"
    b"{p;lY2nYQJ0|@vG_XqzA3hem?1q%NS1OpoL?e`b`2=w#+2N(nV`3nsQ4EPE0{_FS%@&NY;0`&qJ{s0FB5e)zW{Qmp-"
    b"@d54s`2q|E0sjXG=@Ir90|f^I2My{B{|5&A`~3w41P22U5fTCH`2hL?5Az2E0qOYs_z(B|3i=2A_x<+v{r>|1_YVvL"
    b"_5|w){09dP1^V|3@&)<<_yYv=0}%NH1^yZW=lKf;@e%q75FPpU^$7?9{Q(i`_U;1=`3Cy`0S5pN{0I65{PGP6`u76="
    b"@e1$$2Js06`2X|y>H`56{sZm!_X+3$4iypl@dOG43kUrI{u%`P`2Z03|NjT}^Z)k)^Z)_<`U?aB{SEg92K@#61q1*E"
    b"^#1zu1_cQR0r~{@`TGP5@CWex^8fP<4+R7B>iGf?^9%R|2_X&h2nhcN73c@^1qS&D?*a1y`}y_-3=;<Y2mKHG1@{FD"
    b"@ayIE2lD$11Pb%=?*|78?)B>m?+yS4{QC*?@%I1+0TlWQ6(RHQ_74mH2JIO00qpw=0uBEF2?GfT3j_HH2mJ&02Mh-a"
    b"`~C9_0{i~{@c{`6?gJGH00Z&<3k3BM4-p*r{{$EU{0RI73<~Z6_Y@HB009N|{Pp({0s{r|3ibvD`}+y_2m=8F`Vb5I"
    b"`0x7>0sZm?2m1dB?*Rn#_XF$>0P+6-{{{s11ndy>{Q&+B3G4Rf{QmUz1Nsa63h)2={|EX13<v`Z1@Qy_2M7TB2n7cQ"
    b"|L_6|2mJ*T_YLp%1OfjI1o-R!0Rry|{s8&@2KEmA2m<g5{M+jG{sQ&{2KWl?{q*$!01y2C3j`1p2Kfg7`UwO4_XGk4"
    b"1@{CH{P_p?0{H*_2LK5P?*8)s?EUfv_6`2~2ki{}0{{91_toj;{{;c{{Qmgz1nvhC3kvW44Fvc61L_6*{|EF30}KZI"
    b"3Je4Q1nLO=000934Eqch`Stw@01)^P{u}E6{`?5*1oQ9>0o(HP`uX?{{P`04`0@e*3<ClA`~?FE3iJl_0RsCB4F3BA"
    b"_5}P03-9&{`vw674h#qk`vLI<0RR6M4g&b}1Md#%;Q#vs{qgtZ`Um|2?DGfk0|p22`T_m|`~VC31oQ^_`3469^!@wv"
    b"{`vF(0s#OA1P1&B{1*HD4Ep>F1nvwB_5}3^_Y@KM&<6?x2kP(u{r30t=<x#s`||q;0`&Uu?e_cv2k-z3?*Rt*`1||&"
    b"2mu291OxU53HbU3`U(OL|M~O>@BR7q_y+R(1R?nJ-4p=_@(ud-4DI^?{R{LC0{;dA{Py?u_W=b2?*Ik_{_y+-0siy*"
    b"3jO;9|NZs%`u6_#00s2{4gv7_^#lVC_wm~Z1{(hR&Hn@M@DB?A3i0Ll_5%DJ2lNLA{_zC=@c{h<`2Fz|?f3Qh`vU{="
    b"`~>s|0|)R8^9cm^`WE&I4FmY}@&Ek}0q61)1r+=1(h~~)_7?sG7x3=?2LJRE2k;T|3-Sr~@BRJ;@B{e)^7s4q_5J+t"
    b"2L1{D2lxE?_Wk??3={qK3-$*22K@aD2>Ig-4i*XR;syx)@Dc?E_xuO<@%;My{re0A`~&^<01o#A_yqq5^YH)n1qAo<"
    b"_67zN4+Z%M^CAZc`VI*P0u1j40sjgC7X$_e5e5Vd`0oD^8v60&0Q?RW{_F(?4FmrA4*&r4{QLU@1_Sy52?Y20{`Lk7"
    b"4iEb64gvGz`QZ}e`{x1f1^D{??+N_?>h${@1|9(b?I9if^bQCW|M2bU1PlfT;{g5n`uZ07;_&qJ{0sgG?fv89^%wK@"
    b"PZ1IwNdyTM^AR8q3p_Lz@(S!J4JRZHI0pzg1`j3mDjN+vAOjpHFAgzHA_yfM-4qll-w-C@_ZZ~c`qK^E4&U0}*BAI1"
    b"{SpZb1rrMb^$QCF{rn3N2MY%V1ojsN{1g}vASnt69smdf1rh=f7!U*u5)c&){|)~8_yq^=|M2((843Cg@CN+x0tE>9"
    b"{`(67^#uO@01piU6#E4L4GjAe1?&X^2nhfM6aW7D76u0W5fAYW2OSFi90&3s2=f2^1@8zC`vC<73l{bf`~v^~4gCZE"
    b"@cIfC{{aLN5CH}e{~8VU=Mew&5cu>1@ecd+@A3Ho{`~n22L|f-^APn4`Q-rg5d{PR3i0Rz1nUI@0uTf33<UlK9P1qp"
    b"{T>GS4ekN;0`m*{{r&_4{}BrH{rUg+76}^z3kL}k3kwYs{1^rY`4|-m0u&z=^B4FT?)nJ&2nF-~_w)w$^#=;?2LtyO"
    b"@(&F90t@yC{0S8a68rG@3j6i}3Hc5D03QYq?DY==7X=Lt9039a{{#m9?*I(|0s0UK0rLY2|NZ;^@A(<__W|(q0u=28"
    b"{|f>G2Lufi_W%F+2?_rF`3Cb52NVwg@%i-_^BVmI1P1!>3mOv*6$1bC3J3ih`~4gF^Y{Y<`S|7w=L8D{`|RrS@c{1u"
    b"3GD#;0}TxR5)$<i4FUrJ4G|9a3;p>3_y`C1;pqJe0|5jQ0Tu%8?g#!3_4onb74G@^67={481E4Y1r6#A?Gz6R{`Lq7"
    b"`Tq#_{rd>}>jm}w1@!~?`~~y{5D^9g`}x=a_74OG`55{5^aT408t~=v;tTU5=L!`J_5>3R>;&!r_wy700QUg*^8e=w"
    b"{|*BE^#l<H`~Cp~1@QwC2>K8H1q2NM6Z#VX8V&*h75NeS8xRW)3=tg{2@wnx_xlJ40Q>y%`vvgm1n&D7`1TR_^$-d1"
    b"{`m6${0a&M3=jAX>GJsi7YO_i0{r?B|LW@O6bSC)^BVQz&jSAa{O0oE3-s&~2J!>s0PFq<`0D%t`Tp`2@Bae%3j+Z9"
    b"1p4v-^b-33`}+Ov`tAGs3Htu%_6GtH0QK+y2n6dA=pFd}`veUT0ucof1ODmx2K(*+{q^+{5bE>;2?y=|`Wp`u4gvS_"
    b"1qk;9_Vn`d`2z{?`uha=^Xvlr`~La^`StP5;nwp1{rlni4C&$J@dWSr<?H6!1@{F6_zDF02MGoD@$3cd68`x9{1WpJ"
    b"?&tyT{P6Dv5&8BH`tt+{_W%qA{`CL?^8@zn>EQ(N`}*|-{^S4Q@$d2Q^#c0r6zlK?1PcZF3j7HF^!5S&0|*KW67>rE"
    b"4EgK>2nF&C`~CFq=o1Y6{0i<3`tj`%`W5W|3Je4L*$Dmq=j8Pa4f^fz@a*aT{Pht64f6vB^XUT*_8aT@{R!|83=8w`"
    b"{RaXP1q%T56A=aT2Lu!u`v?d1`|b-D76lp<6AtqW6b%0O5;y)64;dm3C;$N?{RHy=`t}0;3HAH+2nhcQ@B<S200jN;"
    b"`0w`v@%RGp1pDs*|NQa<00aX1{qpVj{^|Dg4*C7=@A3rq{nqa9?D_=c1?=em{POMN4(b8<3i%5JBNyBd^9KbE0p}e1"
    b"0}BZJ{rmk40`>*-0t5N_2KosF{SgEN`2+h0<O~P-^$_j;4-EtU4hZ!C=K%Z-0{a0D{{#O61o!p~_5=_4`S$(+`5Eu`"
    b"@Ba-3?)Uxw4fq8F^XByc4+R41`{?uh69)S23*`^{`TPA31@8Xi>hAdq@A&@e9`)(*6ZQW64)+EK1^4X^=NKRp67eGg"
    b"5Dx$Z3=97V^#uY8_5ch3?h5Y%0|@r|-sIT`0tER2)C~CV_W=tB2kh1N{RrnG?*S6}@&N`1=lt;y<Npos1n=wu`~mL<"
    b"4(tm9`t|(#5ETXh2L%if1`Z1P59I^|0QL|CAOr9L1_J%|02ccT0~Hbq5)BUe`ve2;4F~cD74QlN7yJ4V^$`p94*mlA"
    b"_4ow<1rh=M6BPgO^YH=)`uzm>6z}{K_ww`e2MXr?=@JD7><s(|1o-;^2loUD2K4j!5$)>-0P6by2Lt&L?+^?Q8u|?J"
    b">GbXd0R0OM`v&d+>J9V(0RH*+2lw|8{|VFo?(+Bb(-7$S?9}q_@bB5~@b>=r2m=235b@_0`sN7<0Tl8Q1rYcR4E_M}"
    b"0ObY@@e>XP0sQ|O1`GWD0|@s00rBhq?*9Jv?*8xT><0Jl<ofaZ0`v6k^z-Ze4dx2@0sQp}0Qn0A0|fE^3HAg15$_iA"
    b"5D)kR3Ir4M@dpF(4(AaNApG<O7Y`H(3l0ey9wGt=2NMDZ7abQ97a9W=6A1qz`1=v@1_loR{_^qz2oU=V>H+u)`~(2<"
    b"1?%(=`v3e1{|Wv5_WT0~=>zlp2ln|8@b&Bb0|4{;_5tzu_U8Eq2krz61o`a%0{jB*0So>92>AO44gcr)4+rr03ho&Q"
    b"01*4_00sjH0uTiY_yz*-`}+9^3;zE5_weEk{R#62<`NJ5?Ew1_68Y-`^#%72==~W6`vMLM_zdt2>h%Ti{rCU%0tD~}"
    b"0{{;E1PuQG00#a7{sRsc{2BH76#4@Q1N#phBpUw|8WRi(7dj9b4j3H{Aq4sv2N41Q5B3cO2m<Q@7XbDD_XP<2@&gU|"
    b"6c!5!2LS`~{1ylG6#o_*1P>1T2>c2T6#)_-84vjo4hR(h9V!bM2qYf@9|;5v1rqP^_Wu3)4fpN<1_A#G@DB_31_t}`"
    b"<_#DQ><<m{@)G>`>gFKq4D9de>K5D#?*"
)
WEIGHTS: NDArray[np.int8] = np.frombuffer(base64.b85decode(PACKED), np.int8)
"""By ``plc train content``, in steps: for reset, update and new value side by side a row for each
input, a row for each unit and the biases of either; then the weights and the bias of the logit."""
_BIAS, _OUT = 3 * UNITS * (INPUTS + UNITS), 3 * UNITS * (INPUTS + UNITS + 2)


@kernel
def follow_content(
    powers: NDArray[np.float32],
    numbers: NDArray[np.float64],
    logs: NDArray[np.float32],
    counts: NDArray[np.int64],
    inputs: NDArray[np.float32],
    units: NDArray[np.float32],
) -> None:
    """Learn from the spectrum of one more frame.

    Parameters
    ----------
    powers : float32, shape (n,), n >= :data:`BINS`
        Of bins 50 Hz apart; finite.
    numbers : float64, shape (2,), read and written
        By :data:`PEAK` and :data:`LOGIT`.
    logs : float32, shape (APART_FRAMES + 1, CHANGE_BINS), read and written
        Log spectra of the last frames.
    counts : int64, shape (2,), read and written
        By :data:`LOUD` and :data:`ROW`; zeros before the first frame.
    inputs : float32, shape (INPUTS,), written
        What the network takes of this frame.
    units : float32, shape (MEMORY,), read and written
        State of the network.
    """
    total = 0.0
    for k in range(BINS):
        total += powers[k]
    if not total > _LEAST_POWER:
        counts[ROW] = 0
        return
    level = 10.0 * math.log10(total)
    peak = numbers[PEAK]
    if counts[LOUD] == 0:
        peak = level
    peak = max(level, peak - max(_FALL_DB, _FALL_SHARE * (peak - level)))
    numbers[PEAK] = peak
    counts[LOUD] += level > peak - _LOUD_DB
    counts[ROW] += 1
    for band in range(BANDS):
        power = 1e-12
        for k in range(_EDGES[band], _EDGES[band + 1]):
            power += powers[k]
        inputs[band] = F(min(max((10.0 * math.log10(power) - peak + 35.0) / 20.0, -1.5), 2.0))
    known = counts[ROW] > APART_FRAMES
    change = _change(powers, F(1e-10 * total), logs, counts[ROW])
    inputs[BANDS] = F((max(level - peak, -60.0) + 20.0) / 20.0)
    inputs[EVEN] = F(0.5) * (_flatness(powers, F(1e-10 * total)) + F(3.0))
    inputs[CHANGE] = change - F(1.5) if known else F(0.0)
    inputs[CHANGED] = F(1.0) if known else F(0.0)
    inputs[AFRESH] = F(1.0) if counts[ROW] == 1 else F(0.0)
    numbers[LOGIT] = _hear(WEIGHTS, inputs, units)


@rounded_part
def _flatness(powers: NDArray[np.float32], least: np.float32) -> np.float32:
    """Return the logarithm of the geometric over the arithmetic mean."""
    logs, mean = F(0.0), F(0.0)
    for k in range(_FLAT_FROM, _FLAT_TO):
        logs += log(powers[k] + least)
        mean += powers[k] + least
    count = F(_FLAT_TO - _FLAT_FROM)
    value: np.float32 = logs / count - log(mean / count)
    return value


@rounded_part
def _change(
    powers: NDArray[np.float32], least: np.float32, logs: NDArray[np.float32], row: int
) -> np.float32:
    """Keep the log spectrum; return its distance, without level, from 40 ms earlier."""
    new = logs[row % (APART_FRAMES + 1)]
    old = logs[(row - APART_FRAMES) % (APART_FRAMES + 1)]
    mean = F(0.0)
    for k in range(CHANGE_BINS):
        new[k] = log(powers[_CHANGE_FROM + k] + least)
        mean += new[k] - old[k]
    mean /= F(CHANGE_BINS)
    change = F(0.0)
    for k in range(CHANGE_BINS):
        change += abs(new[k] - old[k] - mean)
    value: np.float32 = change / F(CHANGE_BINS)
    return value


@rounded_part
def _hear(
    weights: NDArray[np.int8], inputs: NDArray[np.float32], units: NDArray[np.float32]
) -> np.float32:
    """Let the network [1]_ hear a frame; return the logit of speech."""
    gates, own = units[UNITS : 4 * UNITS], units[4 * UNITS :]
    for j in range(3 * UNITS):
        gates[j] = WEIGHTS_STEP * F(weights[_BIAS + j])
        own[j] = WEIGHTS_STEP * F(weights[_BIAS + 3 * UNITS + j])
    for k in range(INPUTS):
        x = WEIGHTS_STEP * inputs[k]
        for j in range(3 * UNITS):
            gates[j] += x * F(weights[3 * UNITS * k + j])
    for k in range(UNITS):
        x = WEIGHTS_STEP * units[k]
        for j in range(3 * UNITS):
            own[j] += x * F(weights[3 * UNITS * (INPUTS + k) + j])
    said = F(weights[_OUT + UNITS])
    for j in range(UNITS):
        reset = sigmoid(gates[j] + own[j])
        keep = sigmoid(gates[UNITS + j] + own[UNITS + j])
        new = tanh(gates[2 * UNITS + j] + reset * own[2 * UNITS + j])
        units[j] = new + keep * (units[j] - new)
        said += units[j] * F(weights[_OUT + j])
    value: np.float32 = WEIGHTS_STEP * said
    return value
